"""Uploads in numbered chunks, which may arrive in any order, at once, and more than once.

Kodosumi's clients upload files so. An upload belongs to one user, which is a
`Caller.owner` here. When all of its chunks are there, its content becomes a blob. Unfinished
uploads count with blobs' parts (`koco.control.storage.unfinished`), and become too old like them.
"""

import asyncio
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from koco.control.settings import Settings
from koco.control.storage.blobs import Blobs
from koco.control.storage.chunk_file import ChunkFile
from koco.control.storage.disk import Disk
from koco.control.storage.unfinished import folder_name, name_of, upload_name
from koco.errors import ConflictError, LimitError, NotFoundError, TooManyError, UsageError

#: The largest chunk (bytes), as in Kodosumi.
CHUNK_BYTES = 1024 * 1024
#: The most chunks of a file, and the most uploads of a user, including complete ones.
_MOST_CHUNKS = 100_000
_MOST_UPLOADS = 1000
#: How many missing chunks an error names.
_NAMED = 20
#: When a user with too many uploads should try again (seconds).
_RETRY_S = 60.0
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ABOUT = "about.json"


class Content(msgspec.Struct, frozen=True):
    """The content of a complete upload: a blob of its user."""

    sha256: str
    size_bytes: int


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload: the name of its file, the number of its chunks, the batch that it belongs to."""

    filename: str
    total_chunks: int
    batch_id: str = ""
    #: None until it is complete.
    content: Content | None = None


class ChunkedUploads:
    """The uploads in chunks of one control plane."""

    def __init__(self, data_dir: Path, blobs: Blobs, settings: Settings, disk: Disk) -> None:
        self._root = data_dir / "chunked"
        self._blobs = blobs
        self._settings = settings
        self._disk = disk
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        #: The sizes of unfinished uploads, with those of blobs' parts.
        self._unfinished = blobs.unfinished
        for folder in self._root.glob("*/*"):
            if not _is_complete(folder):
                self._count(folder, ChunkFile(folder).size_bytes)

    async def begin(self, user: str, upload: Upload) -> str:
        """Begin an upload; return its id.

        Raises:
            LimitError: it would have too many chunks.
            TooManyError: the user has too many uploads.
        """
        if not 0 <= upload.total_chunks <= _MOST_CHUNKS:
            raise LimitError(
                f"a file has from 0 to {_MOST_CHUNKS} chunks, got {upload.total_chunks}",
                hint=f"a chunk may have {CHUNK_BYTES} bytes",
            )
        folder = self._folder(user)
        async with self._turn(user):
            made = str(uuid.uuid4())
            await asyncio.to_thread(_require_few, folder, name_of(user))
            self._unfinished.require(upload_name(user, made), 0, whose=name_of(user))
            self._count(folder / made, 0)
            try:
                await asyncio.to_thread(_write, folder / made, upload)
            except BaseException:
                self._forget(folder / made)
                raise
        return made

    async def take(self, user: str, upload_id: str, number: int, data: bytes) -> int:
        """Add a chunk; return how many have arrived. A repeated chunk changes nothing.

        Raises:
            NotFoundError: the user has no such upload.
            UsageError: there is no such chunk in it.
            ConflictError: that chunk has arrived with other content.
            LimitError: the chunk or the file is too large.
            TooManyError: the user's unfinished uploads are too large.
            NoRoomError: the disk is full.
        """
        if len(data) > CHUNK_BYTES:
            raise LimitError(f"a chunk may have {CHUNK_BYTES} bytes, got {len(data)}")
        async with self._turn(upload_id):
            upload = await self.find(user, upload_id)
            if not 0 <= number < upload.total_chunks:
                raise UsageError(f"there is no chunk {number} of {upload.total_chunks}")
            if upload.content is not None:
                return upload.total_chunks
            folder = self._folder(user) / upload_id
            chunks = ChunkFile(folder)
            if not await asyncio.to_thread(chunks.has, number, data):
                self._require_room(user, folder, len(data))
                try:
                    with self._disk.piece(len(data)):
                        await asyncio.to_thread(chunks.put, number, data)
                finally:
                    self._count(folder, chunks.size_bytes)
            return len(await asyncio.to_thread(chunks.places))

    async def finish(self, user: str, upload_id: str) -> tuple[Upload, Content]:
        """Make a blob of a user's upload; return both. A repeated call changes nothing.

        Raises:
            NotFoundError: the user has no such upload.
            ConflictError: chunks are missing.
            KocoError: see `Blobs.receive_content`.
        """
        async with self._turn(upload_id):
            upload = await self.find(user, upload_id)
            if upload.content is not None:
                return upload, upload.content
            folder = self._folder(user) / upload_id
            chunks = ChunkFile(folder)
            places = await asyncio.to_thread(chunks.places)
            missing = [each for each in range(upload.total_chunks) if each not in places]
            if missing:
                named = ", ".join(map(str, missing[:_NAMED])) + ", …" * (len(missing) > _NAMED)
                raise ConflictError(
                    f"Not all chunks uploaded: {upload.filename!r} has no chunk {named} yet",
                    hint="upload them and complete it again",
                )
            ordered = [places[each] for each in range(upload.total_chunks)]
            self._forget(folder)  # the part that its content passes through counts instead
            try:
                body = _pieces(chunks, ordered)
                content = Content(*await self._blobs.receive_content(name_of(user), body, by=user))
                complete = msgspec.structs.replace(upload, content=content)
                await asyncio.to_thread(_write, folder, complete)
            except BaseException:
                self._count(folder, chunks.size_bytes)
                raise
            await asyncio.to_thread(chunks.remove)
            return upload, content

    async def find(self, user: str, upload_id: str) -> Upload:
        """Return a user's upload.

        Raises:
            NotFoundError: the user has no such upload.
        """
        if _ID.fullmatch(upload_id):
            path = self._folder(user) / upload_id / _ABOUT
            try:
                return msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=Upload)
            except (FileNotFoundError, msgspec.DecodeError):
                pass
        raise NotFoundError(
            f"Invalid upload ID - upload not initialized: {upload_id[:80]!r}",
            hint="it was never begun by this user, or was cancelled, or is too old",
        )

    async def cancel(self, user: str, upload_id: str) -> None:
        """Remove a user's upload.

        Raises:
            NotFoundError: the user has no such upload.
        """
        async with self._turn(upload_id):
            await self.find(user, upload_id)
            await self._remove(self._folder(user) / upload_id)

    async def end(self, user: str) -> None:
        """Remove the uploads of a user that is no longer one."""
        for folder in await asyncio.to_thread(lambda: list(self._folder(user).glob("*"))):
            async with self._turn(folder.name):
                await self._remove(folder)
        await asyncio.to_thread(shutil.rmtree, self._folder(user), True)

    async def collect(self) -> int:
        """Remove uploads that have been idle for long; return how many."""
        before = time.time() - self._settings.unfinished_hours * 3600
        idle = await asyncio.to_thread(lambda: list(_older(self._root, before)))
        for folder in idle:
            async with self._turn(folder.name):
                await self._remove(folder)
        return len(idle)

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    def _folder(self, user: str) -> Path:
        return self._root / folder_name(user)

    def _count(self, folder: Path, size_bytes: int) -> None:
        """Count an upload as unfinished, with the bytes that have arrived."""
        self._unfinished.sizes[f"{folder.parent.name}-{folder.name}"] = size_bytes

    def _forget(self, folder: Path) -> None:
        self._unfinished.sizes.pop(f"{folder.parent.name}-{folder.name}", None)

    async def _remove(self, folder: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, folder, True)
        self._forget(folder)

    def _require_room(self, user: str, folder: Path, more_bytes: int) -> None:
        """Refuse a chunk beyond a limit, else count it, because others may arrive meanwhile."""
        size_bytes = ChunkFile(folder).size_bytes + more_bytes
        self._blobs.check_length(size_bytes)
        self._unfinished.require(
            upload_name(user, folder.name), size_bytes, whose=name_of(user), is_new=False
        )
        self._count(folder, size_bytes)


async def _pieces(chunks: ChunkFile, places: list[tuple[int, int]]) -> AsyncIterator[bytes]:
    """Yield the content of chunks."""
    pieces = chunks.pieces(places)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def _write(folder: Path, upload: Upload) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = folder / f"{_ABOUT}.new"
    new.write_bytes(msgspec.json.encode(upload))
    new.replace(folder / _ABOUT)


def _require_few(folder: Path, name: str) -> None:
    """Refuse a further upload of a user who has too many, with those that are complete."""
    count = len(list(folder.iterdir())) if folder.exists() else 0
    if count >= _MOST_UPLOADS:
        raise TooManyError(
            f"{name!r} has {count} uploads in chunks; the limit is {_MOST_UPLOADS}",
            hint="cancel some of them, or wait until they are removed",
            retry_after_s=_RETRY_S,
        )


def _is_complete(folder: Path) -> bool:
    try:
        about = msgspec.json.decode((folder / _ABOUT).read_bytes(), type=Upload)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return False
    return about.content is not None


def _older(root: Path, before: float) -> Iterator[Path]:
    """Yield the folders of uploads in which nothing has changed since a time."""
    for folder in root.glob("*/*"):
        newest = max((each.stat().st_mtime for each in folder.glob("*")), default=0.0)
        if max(newest, folder.stat().st_mtime) < before:
            yield folder
