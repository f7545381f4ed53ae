"""Listing, showing and launching flows as Kodosumi's clients do."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api_server import Api
from tests.support.kodosumi_api import GREET, client_of, serving_kodosumi
from tests.support.kodosumi_client import KodosumiClient, field_of


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving_kodosumi(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[KodosumiClient]:
    with client_of(api) as client:
        yield client


def inputs_of(api: Api, fid: str) -> dict[str, Any]:
    found: dict[str, Any] = api.call(api.parts.store.executions.get(fid)).inputs
    return found


def test_flows_are_listed_in_pages(client: KodosumiClient) -> None:
    """By summary, with a uid made from the URL, as in Kodosumi."""
    first = client.get("/flow", pp=1)
    [greeter] = first["items"]
    assert greeter == {
        "uid": hashlib.md5(GREET.encode(), usedforsecurity=False).hexdigest(),
        "method": "GET",
        "url": GREET,
        "source": "/v1/flows/svc/greet",
        "summary": "Greeter",
        "description": "Greets people",
        "deprecated": False,
        "author": "Ada Lovelace",
        "organization": "Analytical",
        "tags": ["demo", "hello"],
        "base_url": GREET,
    }
    assert first["offset"] == greeter["uid"]
    second = client.get("/flow", pp=1, offset=first["offset"])
    assert [each["summary"] for each in second["items"]] == ["flow"]
    assert second["offset"] is None
    assert client.http.get("/flow?pp=0").status_code == 400


def test_flows_are_found_by_what_their_authors_say(api: Api, client: KodosumiClient) -> None:
    """Without regard to case, and only those that the caller may use."""
    for q, found in (("LOVELACE", 1), ("hello", 1), ("demo", 2), ("nothing", 0)):
        assert len(client.get("/flow", q=q)["items"]) == found, q
    assert client.get("/flow/tags") == {"demo": 2, "hello": 1}
    with client_of(api, "narrow") as narrow:
        assert narrow.get("/flow") == {"items": [], "offset": None}
        assert narrow.get("/flow/tags") == {}


@pytest.mark.parametrize(
    "path",
    [
        GREET,
        f"{GREET}/",
        f"/inputs{GREET}",
        "/-/10.0.0.7/80/svc/-/greet",
        "/-/example.com/443/SVC/-/greet/",
    ],
)
def test_a_form_is_shown_with_all_properties(client: KodosumiClient, path: str) -> None:
    """At any host and port, because they mean nothing here."""
    found = client.get(path)
    assert (found["summary"], found["tags"]) == ("Greeter", ["hello", "demo"])
    assert found["openapi_extra"] == {
        "x-kodosumi": True,
        "x-author": "Ada Lovelace",
        "x-organization": "Analytical",
        "x-version": "1.0",
    }
    by_type = {each["type"]: each for each in found["elements"]}
    assert by_type["text"] == {
        "type": "text",
        "name": "who",
        "label": "Who",
        "value": None,
        "required": True,
        "placeholder": None,
        "size": None,
        "pattern": None,
    }
    assert by_type["select"]["option"][0] == {
        "type": "option",
        "name": "kind",
        "label": None,
        "value": False,
    }
    assert by_type["boolean"]["option"] is None


@pytest.mark.parametrize("path", ["/-/localhost/8001/svc/-/no", "/-/x", "/-/h/1/other/-/", "/-/"])
def test_there_is_nothing_at_other_paths(client: KodosumiClient, path: str) -> None:
    """404."""
    assert client.http.get(path).status_code == 404


def test_inputs_are_taken_as_kodosumi_takes_them(api: Api, client: KodosumiClient) -> None:
    """Text for numbers, `on` for a checkbox, off if it is missing; unknown names are ignored."""
    body = {"who": "Bo", "times": "3", "loud": "on", "unknown": 1, "tone": None, "notes": ""}
    answer = client.post(GREET, body)
    assert len(answer["elements"]) == 8
    found = inputs_of(api, answer["result"])
    assert (found["who"], found["times"], found["loud"]) == ("Bo", 3, True)
    assert "unknown" not in found
    assert inputs_of(api, client.post(GREET, {"who": "Bo"})["result"])["loud"] is False


def test_a_form_of_a_browser_is_taken_too(api: Api, client: KodosumiClient) -> None:
    """At both paths."""
    for path in (GREET, f"/inputs{GREET}"):
        answer = client.http.post(path, data={"who": "Bo", "loud": "on"})
        assert inputs_of(api, answer.json()["result"])["who"] == "Bo"


def test_refused_inputs_are_answered_with_200(client: KodosumiClient) -> None:
    """And with `errors` by field, `_global_` always among them, and no `result`."""
    answer = client.post(GREET, {"times": "many"})
    assert answer["errors"]["who"] == ["is required"]
    assert answer["errors"]["_global_"] == []
    assert "times" in answer["errors"]
    assert "result" not in answer
    assert len(answer["elements"]) == 8


@pytest.mark.parametrize("body", [b"[1]", b"{", b'"x"', b"\xff"])
def test_other_bodies_are_refused(client: KodosumiClient, body: bytes) -> None:
    """400."""
    assert client.http.post(GREET, content=body).status_code == 400


def test_a_launch_is_in_the_audit_log(api: Api, client: KodosumiClient) -> None:
    """Once, with its fid, as one of koco's own API."""
    fid = client.post(GREET, {"who": "Bo"})["result"]
    with api.http("dora") as admin:
        entries = admin.get("/v1/audit", params={"action": "launch", "limit": 1000}).json()["items"]
    assert [each["who"] for each in entries if each["target"] == fid] == ["ada"]


def test_a_launch_takes_uploads(api: Api, client: KodosumiClient) -> None:
    """It completes them itself; only their user can name them, and only with the right numbers."""
    batch = client.post("/files/init_batch", status=201)["batch_id"]
    upload = client.upload("sub/a.txt", [b"hello ", b"world"], batch)
    value = field_of(batch, {upload: ("sub/a.txt", 2)})
    fid = client.post(GREET, {"who": "Bo", "notes": value})["result"]
    assert inputs_of(api, fid)["notes"] == ["in/sub/a.txt"]
    assert client.http.get(f"/files/{fid}/in/sub/a.txt").content == b"hello world"
    with client_of(api, "bob") as bob:
        refused = bob.post(GREET, {"who": "Bo", "notes": value})
        assert "Invalid upload ID" in refused["errors"]["notes"][0]
    for wrong in (
        field_of("another", {upload: ("a.txt", 2)}),
        field_of(batch, {upload: ("a.txt", 3)}),
        field_of(batch, {upload: ("../../a.txt", 2)}),
    ):
        assert "notes" in client.post(GREET, {"who": "Bo", "notes": wrong})["errors"], wrong
    half = client.post("/files/init", {"filename": "b", "total_chunks": 2}, status=201)["upload_id"]
    client.chunk(half, 0, b"x")
    refused = client.post(GREET, {"who": "Bo", "notes": field_of("", {half: ("b", 2)})})
    assert "no chunk 1 yet" in refused["errors"]["notes"][0]
