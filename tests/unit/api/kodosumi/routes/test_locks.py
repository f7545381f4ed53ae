"""Locks as Kodosumi's clients see and answer them."""

from collections.abc import Iterator

import pytest

from tests.support.api_server import Api
from tests.support.kodosumi_api import client_of, execute, serving_kodosumi
from tests.support.kodosumi_client import KodosumiClient


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving_kodosumi(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[KodosumiClient]:
    with client_of(api) as client:
        yield client


def lock_of(api: Api, name: str = "review") -> str:
    """Open a lock of a new execution; return its path."""
    fid = execute(api, ends=False)
    made = api.parts.store.locks.open(fid, f"l{fid}", name=name, data=None, expires=9e9)
    return f"/lock/{fid}/{api.call(made).lid}"


@pytest.mark.parametrize("prefix", ["", "/inputs"])
def test_a_lock_is_shown_and_answered(api: Api, client: KodosumiClient, prefix: str) -> None:
    """Its elements are a list; the answer has the result. A missing checkbox is off."""
    path = f"{prefix}{lock_of(api)}"
    elements = client.get(path)
    assert [each["type"] for each in elements] == ["boolean", "text"]
    assert elements[1]["placeholder"] is None
    answer = client.post(path, {"why": "because", "unknown": 1})
    assert answer == {"result": {"ok": False, "why": "because"}, "elements": elements}
    for again in (client.http.get(path), client.http.post(path, json={"why": "x"})):
        assert again.status_code == 404
        assert "released" in again.json()["detail"]


def test_a_refused_answer_leaves_the_lock_open(api: Api, client: KodosumiClient) -> None:
    """200 with `errors`, as in Kodosumi, and then another one."""
    path = lock_of(api)
    answer = client.post(path, {"ok": "on"})
    assert answer["errors"] == {"why": ["is required"], "_global_": []}
    assert "result" not in answer
    assert client.http.post(path, data={"why": "x", "ok": "on"}).json()["result"]["ok"] is True


def test_a_lock_without_a_form_takes_any_object(api: Api, client: KodosumiClient) -> None:
    """It has no elements."""
    path = lock_of(api, "other")
    assert client.get(path) == []
    assert client.post(path, {"a": [1]})["result"] == {"a": [1]}


def test_there_is_no_other_lock(api: Api, client: KodosumiClient) -> None:
    """404."""
    path = lock_of(api).rpartition("/")[0]
    assert client.http.get(f"{path}/nothing").status_code == 404
