"""A bucket whose server fails: nothing is lost or half-written, and errors say why."""

import asyncio
import hashlib
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from koco.control.storage.blob_stores import address, s3, s3_access
from koco.control.storage.blob_stores.protocol import BlobsAwayError, BlobStore
from koco.errors import KocoError, UsageError
from tests.support.object_storage import BUCKET, Storage, refusal

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail within seconds."""
    monkeypatch.setattr(s3, "_AGAIN_S", 2)
    monkeypatch.setattr(s3, "_SILENCE_S", 2)


@pytest.fixture
def store(storage: Storage, tmp_path: Path) -> BlobStore:
    return address.make(f"s3://{BUCKET}/{tmp_path.name}", tmp_path)


def run(body: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), 50))  # type: ignore[arg-type]


def part(tmp_path: Path, data: bytes) -> tuple[str, Path]:
    path = tmp_path / "part"
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest(), path


async def whole(store: BlobStore, sha256: str, start: int = 0) -> bytes:
    return b"".join([piece async for piece in await store.open(sha256, start=start)])


@pytest.mark.parametrize("status", [500, 503])
def test_a_passing_failure_is_not_seen(
    storage: Storage, store: BlobStore, tmp_path: Path, status: int
) -> None:
    """The request is made again: of small blobs, of parts of large ones, of reads."""
    data = os.urandom(20 * MB)
    sha256, path = part(tmp_path, data)

    async def body() -> None:
        storage.wire.refuse(refusal(status, "SlowDown"), times=2)
        await store.put(hashlib.sha256(b"small").hexdigest(), b"small")
        storage.wire.refuse(refusal(status, "SlowDown"), method=b"PUT", times=2)
        await store.add(sha256, path)
        storage.wire.refuse(refusal(status, "SlowDown"), method=b"GET", times=2)
        assert await whole(store, sha256) == data

    run(body)


def test_a_lasting_failure_ends_in_time(storage: Storage, store: BlobStore, tmp_path: Path) -> None:
    """Writing, reading and looking fail within seconds, and say what the server says."""
    sha256, path = part(tmp_path, os.urandom(20 * MB))

    async def body() -> None:
        storage.wire.refuse(refusal(503, "SlowDown"))
        for work in (store.add(sha256, path), store.put(sha256, b"x"), store.open(sha256)):
            with pytest.raises(BlobsAwayError, match=r"answers 503"):
                await work
        assert (await asyncio.to_thread(path.stat)).st_size == 20 * MB
        storage.wire.mend()
        assert await store.size(sha256) is None
        await store.add(sha256, path)
        assert await store.size(sha256) == 20 * MB

    run(body)


def test_a_silent_server_is_given_up(storage: Storage, store: BlobStore) -> None:
    """A server that accepts and says nothing holds nobody for longer than the limits say."""

    async def body() -> None:
        storage.wire.delay_s = 30
        began = time.monotonic()
        with pytest.raises(BlobsAwayError, match="does not answer in time"):
            await store.size("0" * 64)
        assert time.monotonic() - began < 20

    run(body)


def test_a_cut_download_goes_on_where_it_was_cut(storage: Storage, store: BlobStore) -> None:
    """Its reader sees all bytes once; a connection that breaks each time at once is given up."""
    data = os.urandom(5 * MB)
    sha256 = hashlib.sha256(data).hexdigest()

    async def body() -> None:
        await store.put(sha256, data)
        storage.wire.requests.clear()
        storage.wire.cut_after, storage.wire.cuts = 2 * MB, 2
        assert await whole(store, sha256) == data
        assert any(b"bytes=" in head.lower() for head in storage.wire.requests)
        storage.wire.cut_after, storage.wire.cuts = 0, 1_000_000
        with pytest.raises(BlobsAwayError):
            await whole(store, sha256)

    run(body)


def test_half_a_large_blob_is_never_seen(
    storage: Storage, store: BlobStore, tmp_path: Path
) -> None:
    """The server is killed in the middle of an upload: the next one makes the blob whole."""
    data = os.urandom(64 * MB)
    sha256, path = part(tmp_path, data)

    def kill() -> None:
        until_s = time.monotonic() + 20
        while sum(b"partNumber" in head for head in storage.wire.requests) < 3:
            assert time.monotonic() < until_s
            time.sleep(0.001)
        storage.stop()

    async def body() -> None:
        storage.wire.requests.clear()
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            with pytest.raises(BlobsAwayError):
                await store.add(sha256, path)
        finally:
            await asyncio.to_thread(killer.join)
            await asyncio.to_thread(storage.start)
        assert await store.size(sha256) is None
        assert path.read_bytes() == data
        await store.add(sha256, path)
        assert await whole(store, sha256) == data

    run(body)


def test_a_failed_upload_leaves_no_parts(
    storage: Storage, store: BlobStore, tmp_path: Path
) -> None:
    """It is aborted."""
    sha256, path = part(tmp_path, os.urandom(40 * MB))

    async def body() -> None:
        storage.wire.requests.clear()
        storage.wire.refuse(refusal(403, "AccessDenied"), method=b"PUT")
        with pytest.raises(BlobsAwayError, match="does not allow it"):
            await store.add(sha256, path)
        assert any(
            head.startswith(b"DELETE") and b"uploadId" in head for head in storage.wire.requests
        )

    run(body)


def test_a_server_that_keeps_less_is_found_out(
    storage: Storage, store: BlobStore, tmp_path: Path
) -> None:
    """A large blob counts only if it has its size there."""
    sha256, path = part(tmp_path, os.urandom(20 * MB))
    storage.wire.refuse(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLast-Modified: Tue, 01 Dec 2026 10:00:00 GMT\r\n"
        b'ETag: "x"\r\nConnection: close\r\n\r\n',
        method=b"HEAD",
    )
    with pytest.raises(BlobsAwayError, match="has not kept the blob"):
        asyncio.run(store.add(sha256, path))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "another"}, "does not know the access key"),
        ({"AWS_SECRET_ACCESS_KEY": "another"}, "does not accept the secret key"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "the connection is refused"),
        ({"AWS_ENDPOINT_URL": "http://host.invalid"}, "its name cannot be looked up"),
        ({"AWS_ENDPOINT_URL": "ftp://host"}, "cannot be reached"),
        ({"AWS_CA_BUNDLE": "/nowhere.pem"}, "AWS_CA_BUNDLE: cannot read /nowhere.pem"),
    ],
)
def test_a_check_says_what_is_wrong(
    storage: Storage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, str],
    said: str,
) -> None:
    """Whose fault it is, and what to do; no message has a key."""
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    error = failure(f"s3://{BUCKET}/x", tmp_path)
    assert said in error.message
    assert error.hint or "AWS_CA" in said
    assert "koco-secret" not in f"{error.message}{error.hint}"


def test_a_check_needs_the_bucket(storage: Storage, tmp_path: Path) -> None:
    """Koco makes no bucket: its region and its rules are its owner's."""
    error = failure("s3://missing-bucket/x", tmp_path)
    assert isinstance(error, UsageError) and "has no such bucket" in error.message
    assert "create it" in (error.hint or "")


@pytest.mark.parametrize(
    ("method", "doing"),
    [(b"PUT", "write a blob"), (b"GET", "list blobs"), (b"DELETE", "remove a blob")],
)
def test_a_check_needs_every_right(
    storage: Storage, tmp_path: Path, method: bytes, doing: str
) -> None:
    """The error names the one that is missing."""
    storage.wire.refuse(refusal(403, "AccessDenied"), method=method)
    error = failure(f"s3://{BUCKET}/x", tmp_path)
    assert isinstance(error, UsageError)
    assert error.message.startswith(f"cannot {doing}:") and "AccessDenied" in error.message
    assert "s3:DeleteObject" in (error.hint or "")


@pytest.mark.parametrize(
    ("status", "code", "said", "hint"),
    [
        (400, "ExpiredToken", "session token has expired", "AWS_SESSION_TOKEN"),
        (400, "RequestExpired", "clock is wrong", "NTP"),
        (403, "RequestTimeTooSkewed", "clock is wrong", "NTP"),
        (403, "QuotaExceeded", "has no room left", "quota"),
        (507, "XMinioStorageFull", "has no room left", "quota"),
        (501, "NotImplemented", "does not know a request", "uploads in parts"),
        (400, "InvalidArgument", "does not accept the request", "AWS_REGION"),
        (400, "KMS.DisabledException", "cannot use the key", "kms:GenerateDataKey"),
        (403, "AccessDenied", "does not allow it", "kms:Decrypt"),
        (403, "", "does not allow it (403)", "s3:PutObject"),
        (405, "", "does not speak S3 at this URL", "console"),
    ],
)
def test_a_refusal_says_what_to_repair(
    storage: Storage, tmp_path: Path, status: int, code: str, said: str, hint: str
) -> None:
    """In words, with the code, and whatever the request was."""
    storage.wire.refuse(refusal(status, code))
    error = failure(f"s3://{BUCKET}/x", tmp_path)
    assert isinstance(error, UsageError)
    assert error.message.startswith(f"cannot write a blob: s3://{BUCKET}/x at http://127.0.0.1:")
    assert said in error.message and f"({code or status})" in error.message
    assert hint in (error.hint or "")
    store = address.make(f"s3://{BUCKET}/x", tmp_path)
    with pytest.raises(BlobsAwayError, match=re.escape(said)):
        asyncio.run(store.put("0" * 64, b"x"))


def test_a_busy_server_is_no_fault_of_the_operator(storage: Storage, tmp_path: Path) -> None:
    """It passes, and the hint says what helps if it does not."""
    storage.wire.refuse(refusal(503, "SlowDown"))
    error = failure(f"s3://{BUCKET}/x", tmp_path)
    assert isinstance(error, BlobsAwayError) and "answers 503 (SlowDown)" in error.message
    assert "rate of requests" in (error.hint or "")


def test_storage_without_ranges_is_refused(
    storage: Storage, store: BlobStore, tmp_path: Path
) -> None:
    """A download could not go on where it broke: `koco up` says so, and so do reads."""
    storage.wire.refuse(
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nLast-Modified: Tue, 01 Dec 2026 10:00:00 GMT\r\n"
        b'ETag: "x"\r\nConnection: close\r\n\r\nkoco',
        method=b"GET /blobs/x",
    )
    error = failure(f"s3://{BUCKET}/x", tmp_path)
    assert isinstance(error, UsageError) and "cannot read a blob" in error.message
    assert "all of a blob where a part" in error.message and "Range" in (error.hint or "")
    storage.wire.method = b"GET"
    with pytest.raises(BlobsAwayError, match="all of a blob where a part"):
        asyncio.run(whole(store, "0" * 64, start=1))


@pytest.mark.parametrize("has_answer", [True, False])
def test_a_check_without_keys_says_where_it_looked(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_answer: bool
) -> None:
    """The service that knows a machine's role refuses, or is not there."""
    for name in storage.variables:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "koco")
    role = storage.variables["AWS_ENDPOINT_URL"] if has_answer else "http://127.0.0.1:1"
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", role)
    storage.wire.refuse(refusal(403, ""))
    error = failure(f"s3://{BUCKET}/x", tmp_path)
    assert isinstance(error, UsageError)
    assert f"s3://{BUCKET}/x at Amazon was not asked" in error.message
    for looked in (f"{tmp_path}/s3.json", f"'koco' in {tmp_path}/credentials", role):
        assert looked in error.message
    assert ("answers 403" if has_answer else "cannot be reached") in error.message
    assert "AWS_ENDPOINT_URL" in (error.hint or "") and "AWS_ACCESS" in (error.hint or "")


def failure(place: str, data_dir: Path) -> KocoError:
    with pytest.raises(KocoError) as caught:
        asyncio.run(address.make(place, data_dir).check())
    return caught.value


def test_new_keys_count_without_a_restart(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `koco up` has kept is used by the next request; it is readable by its owner only."""
    for name in storage.variables:
        monkeypatch.delenv(name)
    values = s3_access.of_environment({**storage.variables, "PATH": "/bin"})
    assert values == storage.variables
    s3_access.save(tmp_path, {**values, "AWS_SECRET_ACCESS_KEY": "former"})
    assert (tmp_path / s3_access.FILE).stat().st_mode & 0o777 == 0o600
    store = address.make(f"s3://{BUCKET}/{tmp_path.name}", tmp_path)

    async def body() -> None:
        with pytest.raises(BlobsAwayError, match="secret key"):
            await store.put("0" * 64, b"x")
        s3_access.save(tmp_path, values)
        await store.put("0" * 64, b"x")

    run(body)


def test_keys_may_be_those_of_the_head_s_user(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the file of AWS's own tools, in the profile of AWS_PROFILE."""
    for name in storage.variables:
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = x\n"
        "[koco]\naws_access_key_id = koco-key\naws_secret_access_key = koco-secret-of-tests\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "koco")
    monkeypatch.setenv("AWS_ENDPOINT_URL", storage.variables["AWS_ENDPOINT_URL"])
    asyncio.run(address.make(f"s3://{BUCKET}/x", tmp_path).check())
    file.write_text("no section")
    with pytest.raises(UsageError, match="cannot be read"):
        s3_access.load(tmp_path)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://", "names no bucket"),
        ("s3://AB", "names no bucket"),
        ("s3://key:secret@bucket/x", "no keys"),
        ("s3://bucket/x?secret=1", "no keys"),
        ("s3://bucket/../x", "cannot be a prefix"),
        ("s3://bucket/a b", "cannot be a prefix"),
        ("gs://bucket/x", "gs://"),
    ],
)
def test_rejects_other_urls(place: str, said: str) -> None:
    """With an example, and without repeating a secret."""
    with pytest.raises(UsageError, match=said) as caught:
        address.check(place)
    assert caught.value.hint and "secret@" not in caught.value.message


def test_a_url_has_one_spelling() -> None:
    assert (
        address.check("s3://bucket/a/b/") == address.check("s3://bucket/a/b") == "s3://bucket/a/b"
    )
    assert address.check("s3://bucket/") == "s3://bucket"
    assert address.check("/mnt/shared") == "/mnt/shared"
