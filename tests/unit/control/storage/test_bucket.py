"""Uploads, files and backups of a control plane whose blobs are in a bucket."""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.client.client import Client
from koco.client.context_file import Context
from koco.control.backup import restoring
from koco.control.storage import blobs as blobs_module
from koco.control.storage.blob_stores import address, s3
from koco.control.storage.blob_stores.directory import Directory
from koco.errors import KocoError, NotFoundError
from tests.support.api_server import Api, serving
from tests.support.object_storage import BUCKET, Storage, refusal

MB = 1024 * 1024


@pytest.fixture
def place(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(s3, "_AGAIN_S", 1)
    monkeypatch.setattr(s3, "_AGAIN", 2)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def api(place: str, tmp_path: Path) -> Iterator[Api]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with serving(data_dir, max_file_mb=64, kept=address.make(place, data_dir)) as api:
        yield api


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def client(api: Api) -> Client:
    return Client(Context("test", api.url, "ada"))


def patch(api: Api, data: bytes, sha256: str, offset: int, length: int) -> Any:
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(length)}
    with api.http() as http:
        return http.patch(f"/v1/blobs/{sha256}", content=data, headers=headers)


def attached(api: Api, data: bytes, path: str = "in/file") -> tuple[str, dict[str, Any]]:
    """Return an execution with a file, and that file."""
    fid = api.execution()
    sha256 = api.upload(data)
    return fid, client(api).files.attach(fid, path, sha256=sha256, size_bytes=len(data))


def names(storage: Storage, tmp_path: Path) -> list[str]:
    return [each for each in storage.objects() if each.startswith(f"{tmp_path.name}/")]


def test_files_go_to_the_bucket_and_come_back(api: Api, storage: Storage, tmp_path: Path) -> None:
    """Nothing of them stays in the data directory; downloads begin at any byte."""
    data = os.urandom(3 * MB)
    fid, file = attached(api, data)
    sha256 = sha(data)
    assert names(storage, tmp_path) == [f"{tmp_path.name}/{sha256[:2]}/{sha256}"]
    assert not list((api.data_dir / "parts").iterdir())
    assert not (api.data_dir / "blobs").exists()
    assert b"".join(client(api).files.read(fid, file)) == data
    with api.http() as http:
        headers = {"Range": f"bytes={2 * MB}-"}
        answer = http.get(f"/v1/executions/{fid}/files/in/file", headers=headers)
    assert (answer.status_code, answer.content) == (206, data[2 * MB :])


def test_an_upload_waits_for_storage_that_is_away(api: Api, storage: Storage) -> None:
    """The answer is 503, the bytes are kept, and a request without more bytes completes them."""
    data = os.urandom(MB)
    storage.wire.refuse(refusal(503, "SlowDown"))
    answer = patch(api, data, sha(data), 0, MB)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert f"s3://{BUCKET}" in answer.json()["detail"]
    with api.http() as http:
        headers = http.head(f"/v1/blobs/{sha(data)}").headers
    assert (headers["Upload-Offset"], headers["Upload-Complete"]) == (str(MB), "?0")
    storage.wire.mend()
    answer = patch(api, b"", sha(data), MB, MB)
    assert (answer.status_code, answer.headers["Upload-Complete"]) == (204, "?1")


def test_a_wrong_hash_never_reaches_the_bucket(api: Api, storage: Storage, tmp_path: Path) -> None:
    """Only what was checked goes there."""
    assert patch(api, b"something else", sha(b"content"), 0, 14).status_code == 400
    assert names(storage, tmp_path) == []


def test_clients_wait_while_the_storage_restarts(
    api: Api, storage: Storage, tmp_path: Path
) -> None:
    """Uploads and downloads of koco's client go on by themselves."""
    data = os.urandom(3 * MB)
    local = tmp_path / "local"
    local.write_bytes(data)
    storage.stop()

    def restart() -> None:
        time.sleep(2)
        storage.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    client(api).files.upload(local, sha(data), size_bytes=len(data))
    restarting.join()
    fid, file = attached(api, data)
    storage.stop()
    restarting = threading.Thread(target=restart)
    restarting.start()
    assert b"".join(client(api).files.read(fid, file)) == data
    restarting.join()


def test_an_upload_that_is_given_up_is_completed(api: Api, storage: Storage) -> None:
    """All of it has arrived, so it becomes a blob, and a repeated request waits for that."""
    blobs = api.parts.files.blobs
    data = os.urandom(MB)

    async def content() -> AsyncIterator[bytes]:
        yield data

    async def upload() -> int:
        received: int = await blobs.receive(
            "ada", sha(data), offset=0, length=MB, body=content(), by="ada"
        )
        return received

    async def body() -> tuple[int, int]:
        task = asyncio.create_task(upload())
        while not any(head.startswith(b"PUT") for head in storage.wire.requests):
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])

        async def nothing() -> AsyncIterator[bytes]:
            return
            yield b""

        again = await blobs.receive(
            "ada", sha(data), offset=MB, length=MB, body=nothing(), by="ada"
        )
        puts = sum(head.startswith(b"PUT") for head in storage.wire.requests)
        return again, puts

    storage.wire.requests.clear()
    storage.wire.delay_s = 0.5
    assert api.call(body()) == (MB, 1)


def test_changed_content_is_refused(api: Api, storage: Storage, tmp_path: Path) -> None:
    """Somebody has written to the bucket: no client takes it for the file."""
    data = os.urandom(1000)
    fid, file = attached(api, data)
    path = storage.folder / BUCKET / names(storage, tmp_path)[0]
    path.write_bytes(os.urandom(1000))
    with pytest.raises(KocoError, match="did not arrive unchanged"):
        b"".join(client(api).files.read(fid, file))
    blobs = api.parts.files.blobs
    for read in (blobs.content, blobs.file):
        with pytest.raises(KocoError, match="is damaged"):
            api.call(read(sha(data)))


def test_a_removed_object_is_not_found(api: Api) -> None:
    """The answer says where it is not."""
    fid, file = attached(api, b"content")
    api.call(api.parts.files.blobs.kept.remove([file["sha256"]], before=time.time() + 60))
    with api.http() as http:
        answer = http.get(f"/v1/executions/{fid}/files/in/file")
    assert answer.status_code == 404
    assert f"s3://{BUCKET}" in answer.json()["detail"]


def test_unreferenced_blobs_are_collected(
    api: Api, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that nothing refers to any more, once they are old."""
    _, kept = attached(api, b"kept")
    api.upload(b"gone")
    blobs = api.parts.files.blobs
    api.sql("UPDATE uploads SET created = '2020'")
    assert api.call(blobs.collect()) == 0  # all are new
    monkeypatch.setattr(blobs_module, "_KEEP_S", -60.0)
    assert api.call(blobs.collect()) == 1
    assert [each[-64:] for each in names(storage, tmp_path)] == [kept["sha256"]]


def test_nothing_that_is_being_added_is_collected(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old blob of the same content is about to be referred to again."""
    blobs = api.parts.files.blobs
    sha256 = api.upload(b"content")
    api.sql("DELETE FROM uploads")
    monkeypatch.setattr(blobs_module, "_KEEP_S", -60.0)

    async def body() -> tuple[int, int]:
        async with blobs.garbage.spare(sha256):
            during = await blobs.collect()
        return during, await blobs.collect()

    assert api.call(body()) == (0, 1)


def test_a_copy_is_fetched_once(api: Api, storage: Storage) -> None:
    """Bundles are files for those who read them; a copy that is gone is fetched again."""
    sha256 = api.upload(b"a bundle")
    blobs = api.parts.files.blobs

    async def body() -> list[Path]:
        return list(await asyncio.gather(*(blobs.file(sha256) for _ in range(3))))

    storage.wire.requests.clear()
    [path, *others] = api.call(body())
    assert path.read_bytes() == b"a bundle" and set(others) == {path}
    assert len([head for head in storage.wire.requests if head.startswith(b"GET")]) == 1
    path.unlink()
    assert api.call(blobs.file(sha256)).read_bytes() == b"a bundle"
    assert api.call(blobs.has(sha256))
    assert not api.call(blobs.has("0" * 64))
    with pytest.raises(NotFoundError):
        api.call(blobs.file("0" * 64))


def test_a_bundle_that_was_uploaded_is_not_fetched(api: Api, storage: Storage) -> None:
    """What is read soon stays here as a copy; the parts are gone all the same."""
    blobs = api.parts.files.blobs
    sha256 = sha(b"a bundle")

    async def body() -> Path:
        async def content() -> AsyncIterator[bytes]:
            yield b"a bundle"

        await blobs.receive(
            "bundles", sha256, offset=0, length=8, body=content(), is_read_soon=True
        )
        return await blobs.file(sha256)

    storage.wire.requests.clear()
    assert api.call(body()).read_bytes() == b"a bundle"
    assert not [head for head in storage.wire.requests if head.startswith(b"GET")]
    assert not list((api.data_dir / "parts").iterdir())


def test_a_backup_has_the_blobs_of_a_bucket(api: Api, place: str, tmp_path: Path) -> None:
    """It is restored into a bucket, or into the data directory."""
    _, file = attached(api, b"content")
    backup = tmp_path / "koco.backup"

    async def make() -> None:
        with backup.open("wb") as out:
            async for piece in api.parts.backups.pieces():
                out.write(piece)

    api.call(make())
    near, far = tmp_path / "near", tmp_path / "far"
    restoring.restore(backup, near, replaces=False)
    assert Directory(near / "blobs").path(file["sha256"]).read_bytes() == b"content"
    kept = address.make(f"{place}/other", far)
    head, _ = restoring.restore(backup, far, replaces=False, kept=kept)
    assert head.blobs == 1 and not (far / "blobs").exists()
    assert asyncio.run(address.make(f"{place}/other", far).size(file["sha256"])) == 7
    restoring.restore(backup, far, replaces=True, kept=kept)
    assert not (far / "blob").exists()


def test_status_and_doctor_say_where_blobs_are(api: Api, storage: Storage) -> None:
    """The doctor writes and reads there, and says why it cannot."""
    from koco.control.health import doctor

    [found] = api.call(doctor._blobs(api.parts))
    assert (found.status, f"s3://{BUCKET}" in found.message) == ("ok", True)
    api.sql(f"UPDATE releases SET status = 'live', bundle = '{'0' * 64}'")
    [found] = api.call(doctor._blobs(api.parts))
    assert (found.status, "code of live releases is not in" in found.message) == ("failed", True)
    storage.wire.refuse(refusal(403, "AccessDenied"))
    with pytest.raises(KocoError, match="does not allow it"):
        api.call(doctor._blobs(api.parts))


def test_downloads_may_come_from_the_bucket_itself(
    api: Api, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a signed URL that is valid for a minute; koco's clients follow it, and keep their key."""
    data = os.urandom(3 * MB)
    fid, file = attached(api, data)
    url = f"/v1/executions/{fid}/files/in/file"
    with api.http() as http:
        assert http.get(url).status_code == 200
        monkeypatch.setattr(api.parts.settings, "blobs_redirect", True)
        answer = http.get(url)
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["ETag"] == f'"{file["sha256"]}"'
    location = answer.headers["Location"]
    assert location.startswith(storage.variables["AWS_ENDPOINT_URL"])
    assert "X-Amz-Expires=60" in location
    storage.wire.requests.clear()
    storage.wire.cut_after, storage.wire.cuts = MB, 2
    assert b"".join(client(api).files.read(fid, file)) == data
    heads = [head.lower() for head in storage.wire.requests if head.startswith(b"GET")]
    assert len(heads) == 3 and not [head for head in heads if b"authorization" in head]
    assert b"bearer" not in b"".join(heads)
    ranges = [head.partition(b"range: bytes=")[2].partition(b"-")[0] for head in heads]
    assert int(ranges[0] or 0) == 0 and int(ranges[1]) > 0 and int(ranges[2]) > int(ranges[1])


def test_a_redirect_that_fails_is_asked_for_again(
    api: Api, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt gets another URL; what is not there is not found at once."""
    monkeypatch.setattr(api.parts.settings, "blobs_redirect", True)
    fid, file = attached(api, b"content")
    storage.wire.refuse(refusal(403, "AccessDenied"), method=b"GET", times=2)
    assert b"".join(client(api).files.read(fid, file)) == b"content"
    api.call(api.parts.files.blobs.kept.remove([file["sha256"]], before=time.time() + 60))
    with pytest.raises(NotFoundError, match="is not in s3://"):
        b"".join(client(api).files.read(fid, file))


def test_a_directory_redirects_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing that could serve it."""
    (tmp_path / "near").mkdir()
    with serving(tmp_path / "near") as api:
        monkeypatch.setattr(api.parts.settings, "blobs_redirect", True)
        fid, file = attached(api, b"content")
        assert b"".join(client(api).files.read(fid, file)) == b"content"
