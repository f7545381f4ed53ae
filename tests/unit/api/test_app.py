"""The API's limits over a real socket: extreme numbers, depths and names."""

import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from koco.control.services.bundles import Bundles
from koco.control.settings import Settings
from koco.control.storage.blobs import Blobs
from koco.control.storage.disk import Disk
from koco.errors import NotFoundError
from koco.events.model import Status
from koco.store.model import Key, ReleaseFailure
from tests.support.api_server import Api, serving
from tests.support.releases import manifest

HUGE = "9" * 30


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        digest = hashlib.sha256(b"dora").digest()
        key = Key(name="dora", digest=digest, scopes=("deploy", "read"), created="")
        api.call(api.parts.store.keys.put(key))
        yield api


def test_an_invalid_cursor_is_refused(api: Api) -> None:
    """400 with a hint, also if the number is too large for the store."""
    with api.http() as client:
        for cursor in (HUGE, "-1", "x", "1.0"):
            answer = client.get("/v1/executions", params={"cursor": cursor})
            assert answer.status_code == 400, cursor
            assert "not a cursor" in answer.json()["detail"]


def test_a_stream_after_its_end_is_empty(api: Api) -> None:
    """For any large number it ends normally and does not break off."""
    fid = api.execution()
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    with api.http() as client:
        for more in ({}, {"tail": HUGE}, {"follow": "true"}):
            params = {"since": HUGE, **more}
            answer = client.get(f"/v1/executions/{fid}/events", params=params)
            assert (answer.status_code, answer.content) == (200, b"")
        headers = {"Last-Event-ID": HUGE}
        assert client.get(f"/v1/executions/{fid}/events", headers=headers).content == b""


def test_waiting_for_a_release_takes_seconds(api: Api) -> None:
    """At most a minute, and NaN is no wait. Unknown numbers are 404."""
    waits: list[float] = []

    async def wait(service: str, number: int, *, seconds: float) -> Any:
        waits.append(seconds)
        raise NotFoundError("none")

    api.parts.deployer = SimpleNamespace(wait=wait)
    with api.http() as client:
        for seconds in ("nan", "-inf", "-1", "inf", "7"):
            client.get("/v1/services/svc/releases/1", params={"wait": seconds})
        assert waits == [0.0, 0.0, 0.0, 60.0, 7.0]
        assert client.get(f"/v1/services/svc/releases/{HUGE}").status_code == 404


def test_only_owners_see_all_of_a_release(api: Api) -> None:
    """Callers who may not deploy see neither keys nor tracebacks."""
    env = {"TOKEN": "hunter22hunter22", "REGION": "eu"}
    declared = manifest(service="leaky", runtime={"env": env})
    error = ReleaseFailure(message="boom", detail="Traceback: /home/dora")
    store = api.parts.store
    api.call(
        store.releases.create("leaky", bundle="", fingerprint="", manifest=declared, by="dora")
    )
    api.call(store.releases.fail("leaky", 1, error))

    async def wait(service: str, number: int, *, seconds: float) -> Any:
        return await store.releases.get(service, number)

    api.parts.deployer = SimpleNamespace(wait=wait)

    async def has(sha256: str) -> bool:
        return bool(sha256)

    api.parts.bundles = SimpleNamespace(has=has)
    path = "/v1/services/leaky/releases"
    for key, sees in (("dora", True), ("ada", False)):
        with api.http(key) as client:
            one, listed = client.get(f"{path}/1"), client.get(path)
        variables = one.json()["manifest"]["runtime"]["env"]
        assert variables == (env if sees else {"TOKEN": "********", "REGION": "eu"})
        for answer in (one, listed):
            assert ("/home/dora" in answer.text) is sees
            assert "boom" in answer.text


def test_a_body_that_is_nested_too_deeply_is_refused(api: Api) -> None:
    """400 on every route, because it is the sender's mistake."""
    fid = api.execution()
    deep = b'{"x":' + b"[" * 40_000
    with api.http("dora") as client:
        answer = client.post("/v1/services/svc/releases", content=deep)
        assert (answer.status_code, answer.json()["code"]) == (400, "usage")
    with api.http() as client:
        answer = client.put(f"/v1/executions/{fid}/files/in/a", content=deep)
        assert answer.status_code == 400


def test_a_body_that_is_not_utf_8_is_refused(api: Api) -> None:
    """400 as well."""
    with api.http("dora") as client:
        for method, path in (("POST", "/v1/plan"), ("PUT", "/v1/secrets/A")):
            answer = client.request(method, path, content=b'{"value": "\xff"}')
            assert (answer.status_code, answer.json()["code"]) == (400, "usage")


def test_a_signature_that_is_not_ascii_is_wrong(api: Api) -> None:
    """404 as for any wrong signature. No key is needed."""
    settings = Settings()
    disk = Disk(api.data_dir, settings, api.parts.store.engine)
    blobs = Blobs(api.data_dir, api.parts.store, settings, disk)
    api.parts.bundles = Bundles(blobs, api.parts.store, secret=b"s", url="")
    with api.http() as client:
        for signature in ("é", "%FF", "0" * 32):
            answer = client.get(f"/bundles/{signature}/{'0' * 64}.zip")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_deployer_is_the_owner_of_the_key(api: Api) -> None:
    """The body cannot name another one."""
    with api.http("dora") as client:
        for path, body in (("releases", {"manifest": {}, "bundle": ""}), ("rollback", {})):
            answer = client.post(f"/v1/services/svc/{path}", json={**body, "by": "ada"})
            assert answer.status_code == 400
            assert "unknown field `by`" in answer.json()["detail"]
