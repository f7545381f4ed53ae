"""Unfinished uploads of all kinds: counted together, and ended with their owner."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from koco.control.access.users import UserChanges
from koco.control.settings import Settings
from koco.control.storage.blobs import Blobs
from koco.control.storage.disk import Disk
from koco.control.storage.unfinished import folder_name
from koco.store.store import Store
from tests.support.api_server import Api
from tests.support.kodosumi_api import client_of, serving_kodosumi

PASSWORD = "correct horse battery"
CHUNK = b"x" * 400_000
SHA256 = hashlib.sha256(b"never complete").hexdigest()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving_kodosumi(tmp_path) as api:
        yield api


def begin(api: Api, secret: str, *, status: int = 201) -> str:
    """Begin an upload in chunks; return its id."""
    with client_of(api, secret) as client:
        body = {"filename": "a", "total_chunks": 3}
        return str(client.post("/files/init", body, status=status).get("upload_id"))


def add(api: Api, secret: str, upload: str, number: int = 0, *, status: int = 201) -> None:
    with client_of(api, secret) as client:
        client.chunk(upload, number, CHUNK, status=status)


def patch(api: Api, secret: str, sha256: str = SHA256) -> int:
    """Begin an upload by koco's own API; return the status."""
    headers = {"Upload-Offset": "0", "Upload-Length": str(2 * len(CHUNK))}
    with api.http(secret) as client:
        return client.patch(f"/v1/blobs/{sha256}", content=CHUNK, headers=headers).status_code


def left(api: Api) -> list[Path]:
    found = [*api.data_dir.glob("parts/*"), *api.data_dir.glob("chunked/*")]
    until = time.monotonic() + 20
    while found and time.monotonic() < until:
        time.sleep(0.05)
        found = [each for each in found if each.exists()]
    return found


def make_key(api: Api) -> str:
    _, secret = api.call(api.parts.keys.create("quota", by="ada", scopes=("launch",)))
    return str(secret)


def make_user(api: Api) -> str:
    api.call(api.parts.users.create("carl", PASSWORD, by="ada", scopes=("launch",)))
    return log_in(api)


def log_in(api: Api) -> str:
    token, _, _ = api.call(api.parts.sessions.begin("carl", PASSWORD, address=""))
    return str(token)


def remake_user(api: Api) -> str:
    api.call(api.parts.users.remove("carl"))
    return make_user(api)


def remake_key(api: Api) -> str:
    api.call(api.parts.keys.revoke("quota"))
    return make_key(api)


def reactivate(api: Api) -> str:
    for active in (False, True):
        api.call(api.parts.users.change("carl", UserChanges(active=active), by="ada"))
    return log_in(api)


ENDS = {
    "revoked": (make_key, remake_key),
    "removed": (make_user, remake_user),
    "disabled": (make_user, reactivate),
}


@pytest.mark.parametrize("how", ENDS)
def test_uploads_end_with_their_owner(api: Api, how: str) -> None:
    """Nothing is left on the disk, and the next key or user of that name begins anew."""
    make, end = ENDS[how]
    secret = make(api)
    upload = begin(api, secret)
    add(api, secret, upload)
    assert patch(api, secret) == 204
    api.parts.settings.max_unfinished_uploads = 2
    again = end(api)
    assert left(api) == []
    add(api, again, upload, status=404)
    with api.http(again) as client:
        assert client.head(f"/v1/blobs/{SHA256}").headers["Upload-Offset"] == "0"
    add(api, again, begin(api, again))
    assert patch(api, again) == 204


def test_a_new_secret_is_the_same_owner(api: Api) -> None:
    """Its uploads go on."""
    secret = make_key(api)
    upload = begin(api, secret)
    _, again = api.call(api.parts.keys.rotate("quota"))
    add(api, again, upload)


def test_another_owner_of_that_name_finds_nothing() -> None:
    """Even if the folder is still there, because the process was killed while it was removed."""
    assert folder_name("ada 2026-01-01") != folder_name("ada 2026-01-02")
    assert folder_name("ada 2026-01-01")[:32] == folder_name("ada")


def test_all_kinds_count_together(api: Api) -> None:
    """In number and in size. Other users have limits of their own."""
    settings = api.parts.settings
    settings.max_unfinished_uploads = 3
    uploads = [begin(api, "ada"), begin(api, "ada")]
    assert patch(api, "ada") == 204
    begin(api, "ada", status=429)
    assert patch(api, "ada", "0" * 64) == 429
    settings.max_unfinished_uploads, settings.max_unfinished_mb = 10, 1.0
    add(api, "ada", uploads[0])
    add(api, "ada", uploads[1], status=429)
    assert patch(api, "ada", "0" * 64) == 429
    add(api, "bob", begin(api, "bob"))
    with client_of(api) as client:
        client.post("/files/cancel", {"upload_id": uploads[0]})
    add(api, "ada", uploads[1])


def test_a_complete_upload_no_longer_counts(api: Api) -> None:
    """And its own completion fits if it did."""
    api.parts.settings.max_unfinished_uploads = 1
    api.parts.settings.max_unfinished_mb = 0.5
    for number in range(3):
        with client_of(api) as client:
            name = f"{number}"
            upload = client.upload(name, [CHUNK])
            body = {"upload_id": upload, "filename": name, "total_chunks": 1}
            client.post("/files/complete/in", body, status=201)
    assert api.parts.files.blobs.unfinished.sizes == {}


def run(tmp_path: Path, test: Callable[[Blobs], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        settings = Settings()
        await test(Blobs(tmp_path, store, settings, Disk(tmp_path, settings, store.engine)))
        await store.close()

    asyncio.run(main())


def test_a_part_that_is_being_written_is_removed_by_its_request(tmp_path: Path) -> None:
    """Not before: the next piece would make it anew."""
    owner = "ada 2026"

    async def test(blobs: Blobs) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield CHUNK
            await asyncio.sleep(0)
            await blobs.end(owner)
            yield CHUNK

        arrived = await blobs.receive(
            "ada", SHA256, offset=0, length=9 * len(CHUNK), body=body(), by=owner
        )
        assert arrived
        assert blobs.unfinished.sizes == {}
        assert await blobs.state("ada", SHA256, by=owner) == (0, False)

    run(tmp_path, test)
    assert list(tmp_path.glob("parts/*")) == []
