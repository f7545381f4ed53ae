"""Blobs in a bucket of S3-compatible storage, by `obstore`, which needs no thread here.

A blob becomes visible when its last byte is there: small ones are one request, large ones an upload
in parts, of which nothing is seen before it is completed. An upload in parts that fails is aborted.
Of one whose process was killed parts remain, which only a rule of the bucket removes
(docs/clusters.md).
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from koco.control.storage.blob_stores import s3_access
from koco.control.storage.blob_stores.protocol import BlobsAwayError, missing
from koco.control.storage.blob_stores.s3_failures import describe
from koco.errors import UsageError

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Store

T = TypeVar("T")

#: How much is handed on at once (bytes).
_PIECE_BYTES = 512 * 1024
#: Up to this size a blob is written by one request (bytes).
_AT_ONCE_BYTES = 16 * 1024 * 1024
#: The size of a part (bytes) unless there would be too many: S3 allows 10,000.
_PART_BYTES = 8 * 1024 * 1024
_MOST_PARTS = 9000
#: How many parts of a blob are under way, and how many blobs are written at once.
_PARTS_AT_ONCE = 2
_WRITES_AT_ONCE = 4
#: How long (seconds) a connection, a silent server, and one request with its repetitions may take.
_CONNECT_S, _SILENCE_S, _REQUEST_S = 5, 30, 60.0
#: How long a request is repeated (seconds), and how often.
_AGAIN_S, _AGAIN = 15, 5
#: How long a written blob counts as new without being written again.
_RENEWED = timedelta(hours=12)
#: How many blobs are looked up or removed at once.
_SIDE_BY_SIDE = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: A browser that follows a signed URL must not show a page of a flow's.
_ATTRIBUTES: Any = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
}


class S3:
    """The blobs in a bucket."""

    def __init__(
        self, bucket: str, prefix: str, data_dir: Path, *, values: dict[str, str] | None = None
    ) -> None:
        """Use the variables in the data directory (`s3_access`), or `values` to try others."""
        self._bucket = bucket
        self._prefix = prefix
        self._data_dir = data_dir
        self._values = values
        self._stamp = -1.0
        self._made: S3Store | None = None
        self._endpoint = ""
        self._writing = asyncio.Semaphore(_WRITES_AT_ONCE)
        self._client()

    @property
    def location(self) -> str:
        """The bucket and prefix, and the server if it is not Amazon's."""
        place = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        return f"{place} at {self._endpoint}" if self._endpoint else place

    def path(self, sha256: str) -> None:
        """Return None: there is no file."""

    async def check(self) -> None:
        """Write a blob, list it, read it and remove it. See `BlobStore.check`."""
        key = f"check/{secrets.token_hex(8)}"
        store = self._client()

        async def listed() -> None:
            found = [each["path"] async for page in store.list("check") for each in page]
            if key not in found:
                raise BlobsAwayError(f"{self.location} does not list what was written to it")

        async def read() -> None:
            part: Any = {"range": {"offset": 1}}  # as a download that goes on where it broke
            if await (await store.get_async(key, options=part)).bytes_async() != b"oco":
                raise BlobsAwayError(f"{self.location} does not return what was written to it")

        async with self._saying("write a blob", is_check=True):
            await store.put_async(key, b"koco", use_multipart=False)
        async with self._saying("list blobs", is_check=True):
            await listed()
        async with self._saying("read a blob", is_check=True):
            await read()
        async with self._saying("remove a blob", is_check=True):
            await store.delete_async(key)

    async def size(self, sha256: str) -> int | None:
        """Return the size of a blob (bytes), or None if there is none."""
        found = await self._head(sha256)
        return found and found[0]

    async def renew(self, sha256: str, size_bytes: int) -> bool:
        """Return whether a blob of that size exists, and is new: its age cannot be changed."""
        found = await self._head(sha256)
        return found is not None and found[0] == size_bytes and found[1] > _now() - _RENEWED

    async def add(self, sha256: str, part: Path) -> None:
        """Upload a file, in parts if it is large."""
        size_bytes = (await asyncio.to_thread(part.stat)).st_size
        if size_bytes <= _AT_ONCE_BYTES:
            await self.put(sha256, await asyncio.to_thread(part.read_bytes))
            return
        part_bytes = max(_PART_BYTES, size_bytes // _MOST_PARTS)
        async with self._writing:
            # Not given up if its caller is: the library aborts what fails, not what is dropped.
            await _to_the_end(self._upload(sha256, part, part_bytes))
        if await self.size(sha256) != size_bytes:
            raise BlobsAwayError(f"{self.location} has not kept the blob {sha256} as it was sent")

    async def put(self, sha256: str, data: bytes) -> None:
        """Upload content by one request."""
        async with self._writing, self._saying("write a blob"):
            await self._client().put_async(
                _key(sha256), data, attributes=_ATTRIBUTES, use_multipart=False
            )

    async def open(self, sha256: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Return the bytes of a blob from `start` on, in pieces."""
        return self._pieces(sha256, start, await self._get(sha256, start))

    async def old(self, before: float) -> AsyncIterator[list[str]]:
        """Yield the blobs that were written before a time."""
        pages = self._client().list(chunk_size=1000).__aiter__()
        since = datetime.fromtimestamp(before, UTC)
        while True:
            async with self._saying("list blobs"):
                try:
                    page = await anext(pages)
                except StopAsyncIteration:
                    return
            names = [each["path"].rpartition("/")[2] for each in page if _is_old(each, since)]
            if found := [name for name in names if _SHA256.fullmatch(name)]:
                yield found

    async def remove(self, names: Iterable[str], *, before: float) -> None:
        """Remove blobs, except those that have been written again since `before`."""
        since = datetime.fromtimestamp(before, UTC)
        turns = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def remove(sha256: str) -> None:
            async with turns:
                found = await self._head(sha256)
                if found is not None and found[1] < since:
                    async with self._saying("remove a blob"):
                        with contextlib.suppress(FileNotFoundError):
                            await self._client().delete_async(_key(sha256))

        await asyncio.gather(*map(remove, names))

    async def sign(self, sha256: str, lifetime_s: float) -> str | None:
        """Return a URL at which anybody can read a blob for a while."""
        from obstore import sign_async

        async with self._saying("sign a URL"):
            lifetime = timedelta(seconds=lifetime_s)
            return await sign_async(self._client(), "GET", _key(sha256), lifetime)

    def _client(self) -> "S3Store":
        """Return the library's store; another one if `koco up` has changed the keys."""
        if self._made is None or self._stamp != s3_access.stamp(self._data_dir):
            self._stamp = s3_access.stamp(self._data_dir)
            values = self._values or s3_access.load(self._data_dir)
            self._endpoint = _first(values, s3_access.ENDPOINTS)
            self._made = _store(self._bucket, self._prefix, values, self._endpoint)
        return self._made

    async def _head(self, sha256: str) -> tuple[int, datetime] | None:
        async with self._saying("look for a blob"):
            with contextlib.suppress(FileNotFoundError):
                found = await self._client().head_async(_key(sha256))
                return found["size"], found["last_modified"]
        return None

    async def _get(self, sha256: str, start: int) -> "GetResult":
        options: Any = {"range": {"offset": start}} if start else None
        async with self._saying("read a blob"):
            try:
                return await self._client().get_async(_key(sha256), options=options)
            except FileNotFoundError as exc:
                if "NoSuchBucket" in str(exc):
                    raise
                raise missing(sha256, self.location) from exc

    async def _upload(self, sha256: str, part: Path, part_bytes: int) -> None:
        async with self._saying("write a blob", within_s=None):
            await self._client().put_async(
                _key(sha256),
                part,
                attributes=_ATTRIBUTES,
                use_multipart=True,
                chunk_size=part_bytes,
                max_concurrency=_PARTS_AT_ONCE,
            )

    async def _pieces(self, sha256: str, at: int, found: "GetResult") -> AsyncIterator[bytes]:
        # The library goes on where a connection broke, as long as it repeats requests.
        end, stream = found.meta["size"], found.stream(_PIECE_BYTES)
        while at < end:
            async with self._saying("read a blob"):
                piece = bytes(await anext(stream, b""))
            if not piece:
                raise BlobsAwayError(f"{self.location} ends the blob {sha256} too early")
            at += len(piece)
            yield piece

    @asynccontextmanager
    async def _saying(
        self, doing: str, *, within_s: float | None = _REQUEST_S, is_check: bool = False
    ) -> AsyncIterator[None]:
        """Turn what fails in the block into our errors; it may take `within_s` at most."""
        from obstore.exceptions import BaseError

        try:
            async with asyncio.timeout(within_s):
                yield
        except (BaseError, FileNotFoundError, TimeoutError) as exc:
            raise describe(
                exc,
                doing=doing,
                location=self.location if self._endpoint else f"{self.location} at Amazon",
                searched=s3_access.searched(self._data_dir),
                is_check=is_check,
            ) from exc


def _store(bucket: str, prefix: str, values: dict[str, str], endpoint: str) -> "S3Store":
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError as exc:
        raise UsageError(
            "blobs in S3 need the package obstore, which is missing here",
            hint="install koco with its extra `s3`: pip install 'koco-deploy[s3]'",
        ) from exc
    keys = ("access_key_id", "secret_access_key", "session_token")
    found = {name: values.get(f"AWS_{name.upper()}") for name in keys}
    config: Any = {name: value for name, value in found.items() if value}
    config["disable_bulk_delete"] = True  # not everybody knows it, and one is removed at a time
    config["region"] = _first(values, s3_access.REGIONS) or "us-east-1"
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    options: Any = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "read_timeout": timedelta(seconds=_SILENCE_S),
        # Of a whole download, which takes as long as its reader does.
        "timeout": timedelta(days=1),
    }
    if ca := values.get(s3_access.CA):
        try:
            options["root_certificate"] = Path(ca).read_bytes()
        except OSError as exc:
            raise UsageError(f"{s3_access.CA}: cannot read {ca}: {exc.strerror}") from exc
    try:
        return S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options=options,
            retry_config={"max_retries": _AGAIN, "retry_timeout": timedelta(seconds=_AGAIN_S)},
        )
    except (BaseError, ValueError) as exc:
        raise UsageError(f"cannot use S3: {str(exc).partition(chr(10))[0]}") from exc


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for work that goes on if the waiting is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_forget)
        raise


def _forget(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # nobody waits for it


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


def _is_old(found: Any, since: datetime) -> bool:
    at: datetime = found["last_modified"]
    return at < since


def _first(values: dict[str, str], names: Iterable[str]) -> str:
    return next((values[name] for name in names if values.get(name)), "")


def _now() -> datetime:
    return datetime.now(UTC)
