"""Uploads that nobody finishes, and uploads that fill the disk: what they do to others."""

import hashlib
import math
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import small_disk
from tests.support.api_server import Api, serving
from tests.support.driver import calm_s
from tests.support.small_disk import MB

#: Of a disk of 100 MB, a fifth is the reserve; uploads leave twice that.
SIZE_MB, LEAVES_MB = 100, 40


@pytest.fixture(params=["mounted", "told"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """An API on a small disk: a real one, and what runs anywhere."""
    with (
        small_disk.of_kind(request.param, tmp_path, SIZE_MB) as path,
        serving(path, max_file_mb=1000) as api,
    ):
        yield api


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        yield api


def patch(
    api: Api, sha256: str, data: Any, length: int, *, offset: int = 0, key: str = "ada"
) -> httpx.Response:
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(length)}
    with api.http(key) as client:
        return client.patch(f"/v1/blobs/{sha256}", content=data, headers=headers)


def other(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def test_simultaneous_uploads_are_counted_together(api: Api) -> None:
    """Of four that need almost all room, one passes; launches work meanwhile."""
    api.admit("admin", "admin")
    free = small_disk.free(api.data_dir)
    size = free - (LEAVES_MB + 5) * MB
    goes, comes = threading.Event(), threading.Semaphore(0)

    def slowly() -> Iterator[bytes]:
        yield b"x" * MB
        comes.release()
        goes.wait(20)
        for _ in range(size // MB - 1):
            yield b"x" * MB

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(patch, api, other(0), slowly(), size)
        comes.acquire()
        refused = [patch(api, other(number), b"x", size) for number in (1, 2, 3)]
        goes.set()
        assert [(each.status_code, each.json()["code"]) for each in refused] == [
            (507, "no_room")
        ] * 3
        assert "are promised" in refused[0].json()["detail"]
        assert first.result().status_code in (204, 400)  # its hash may be another one
    assert small_disk.free(api.data_dir) > (LEAVES_MB - 1) * MB
    assert api.execution()
    with api.http("admin") as admin:
        assert admin.delete("/v1/keys/bob").status_code in (200, 204)
    # What it had been promised is there for others when it has ended.
    small_size = 2 * MB
    again = patch(api, other(9), b"x" * small_size, small_size + 1, key="ada")
    assert again.status_code == 204


def test_an_upload_stops_in_time_if_others_fill_the_disk(api: Api) -> None:
    """It gets 507 where it is, and continues from there."""
    size = small_disk.free(api.data_dir) - (LEAVES_MB + 10) * MB

    def disturbed() -> Iterator[bytes]:
        yield b"x" * MB
        while not any((api.data_dir / "parts").iterdir()):
            time.sleep(0.01)
        with (api.data_dir / "theirs").open("wb") as theirs:
            os.posix_fallocate(theirs.fileno(), 0, 15 * MB)
        time.sleep(0.2)
        for _ in range(size // MB):
            yield b"x" * MB

    answer = patch(api, other(0), disturbed(), size)
    assert (answer.status_code, answer.json()["code"]) == (507, "no_room")
    assert small_disk.free(api.data_dir) > (LEAVES_MB - 2) * MB
    (api.data_dir / "theirs").unlink()
    api.parts.disk._seen_at = -math.inf
    with api.http() as client:
        arrived = int(client.head(f"/v1/blobs/{other(0)}").headers["Upload-Offset"])
    assert arrived >= MB / 2
    assert patch(api, other(0), b"x", size, offset=arrived).status_code == 204


def test_a_quota_of_unfinished_uploads_affects_only_its_key(own: Api) -> None:
    """500 parts of one key are refused; others upload without delay."""
    waits: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        with own.http("bob") as bob:
            while not is_over.is_set():
                began = calm_s()
                assert bob.get("/v1/executions").status_code == 200
                waits.append(calm_s() - began)
                time.sleep(0.005)

    asking = threading.Thread(target=ask)
    asking.start()
    codes: list[int] = []
    with own.http("ada") as ada:
        headers = {"Upload-Offset": "0", "Upload-Length": "2"}
        for number in range(500):
            answer = ada.patch(f"/v1/blobs/{other(number)}", content=b"x", headers=headers)
            codes.append(answer.status_code)
    is_over.set()
    asking.join()
    assert codes == [204] * 100 + [429] * 400
    assert answer.json()["code"] == "too_many"
    assert "max_unfinished_uploads is 100" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "60"
    assert len(list((own.data_dir / "parts").iterdir())) == 100
    waits.sort()
    assert waits[len(waits) * 99 // 100] < 0.25, waits[-3:]
    assert patch(own, other(0), b"x", 2, key="bob").status_code == 204
    # One that is there may go on, and its end makes room for another.
    sha256 = hashlib.sha256(b"xy").hexdigest()
    assert patch(own, sha256, b"x", 2).status_code == 429
    assert patch(own, other(5), b"y", 2, offset=1).status_code == 400
    assert patch(own, sha256, b"xy", 2).status_code == 204
    assert patch(own, other(1600), b"x", 2).status_code == 204


def test_unfinished_uploads_have_a_quota_of_bytes(own: Api) -> None:
    """Received bytes count, of all that are under way; finished ones do not."""
    own.parts.settings.max_unfinished_mb = 3
    assert own.upload(os.urandom(2 * MB))
    assert patch(own, other(0), b"x" * MB, 2 * MB).status_code == 204
    assert patch(own, other(1), b"x", 2 * MB).status_code == 204
    refused = patch(own, other(2), b"x", 3 * MB)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
    assert "max_unfinished_mb is 3" in refused.json()["detail"]
    assert patch(own, other(2), b"x", 3 * MB, key="bob").status_code == 204
    own.parts.settings.max_unfinished_mb = 5
    assert patch(own, other(2), b"x", 3 * MB).status_code == 204


def test_the_quota_survives_a_restart(tmp_path: Path) -> None:
    """Earlier uploads count. A deploy key's bundles use only its own quota."""
    with serving(tmp_path) as api:
        api.parts.settings.max_unfinished_uploads = 1
        assert patch(api, other(0), b"x", 2).status_code == 204
    with serving(tmp_path) as api:
        api.parts.settings.max_unfinished_uploads = 1
        assert patch(api, other(1), b"x", 2).status_code == 429
        blobs = api.parts.files.blobs

        async def body() -> Any:
            yield b"x"

        def bundle(number: int, by: str) -> int:
            work = blobs.receive(
                "koco:bundles", other(number), offset=0, length=2, body=body(), by=by
            )
            return int(api.call(work))

        assert bundle(10, "eve") == 1
        with pytest.raises(Exception, match="'eve' has 1 unfinished"):
            bundle(11, "eve")
        assert bundle(11, "bob") == 1


def test_abandoned_uploads_are_removed(own: Api) -> None:
    """After the time in the settings. Then they no longer count."""
    own.parts.settings.max_unfinished_uploads = 1
    assert patch(own, other(0), b"x", 2).status_code == 204
    [path] = (own.data_dir / "parts").iterdir()
    hour_ago = time.time() - 3700
    os.utime(path, (hour_ago, hour_ago))
    assert own.call(own.parts.files.blobs.collect()) == 0
    own.parts.settings.unfinished_hours = 1
    assert own.call(own.parts.files.blobs.collect()) == 1
    assert patch(own, other(1), b"x", 2).status_code == 204
