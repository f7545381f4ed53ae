"""Conditional requests, HEAD, OPTIONS, unknown methods, and `fields`."""

from collections.abc import Iterator
from typing import Any

import pytest

from koco.api.app import create_app
from koco.api.middleware import etag
from koco.events.model import Status
from koco.response import HTML
from tests.support.api_server import Api, serving
from tests.support.contract import bare_parts
from tests.unit.api.routes.executions.test_results import ended


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[Any]:
    with api.http() as client:
        yield client


def test_a_known_answer_is_not_sent_again(api: Api, client: Any) -> None:
    """304 without a body until it changes. Tags are compared weakly, in lists, and with `*`."""
    fid = api.execution()
    for path in (f"/v1/executions/{fid}", "/v1/executions", "/v1/locks"):
        first = client.get(path)
        tag = first.headers["ETag"]
        assert tag.startswith('W/"')
        for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', f'"a,b" , {tag}', "*"):
            again = client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b""), known
            assert (again.headers["ETag"], again.headers["Cache-Control"]) == (tag, "no-store")
            assert "Content-Type" not in again.headers
        for unknown in ('"x"', "x", "", tag.strip('W/"'), f"{tag[:-1]}x"):
            assert client.get(path, headers={"If-None-Match": unknown}).status_code == 200
    tag = client.get(f"/v1/executions/{fid}").headers["ETag"]
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    changed = client.get(f"/v1/executions/{fid}", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def test_a_condition_does_not_change_an_error(client: Any) -> None:
    """An error has no tag and stays the same."""
    answer = client.get("/v1/executions/none", headers={"If-None-Match": "*"})
    assert answer.status_code == 404
    assert "ETag" not in answer.headers


def test_a_known_file_is_not_sent_again(api: Api, client: Any) -> None:
    """Its tag is its hash."""
    fid = api.execution()
    path = f"/v1/executions/{fid}/files/in/a.txt"
    content = {"sha256": api.upload(b"hello"), "size_bytes": 5}
    assert client.put(path, json=content).status_code == 200
    tag = client.get(path).headers["ETag"]
    assert tag == f'"{content["sha256"]}"'
    again = client.get(path, headers={"If-None-Match": f"W/{tag}"})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    head = client.head(path)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "5")


def test_head_is_get_without_a_body(api: Api, client: Any) -> None:
    """On every route: the same status and headers, and the length if it is known."""
    fid = ended(api, "done")
    paths = ["", "/result", "/locks", "/files", "/events", "/events?follow=1"]
    for path in ["/v1/locks", "/v1/nothing", *(f"/v1/executions/{fid}{each}" for each in paths)]:
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        for answer in (got, head):
            for name in ("date", "x-request-id", "transfer-encoding"):
                answer.headers.pop(name, None)
        assert head.headers == got.headers, path


def test_head_on_a_stream_does_not_follow_it(api: Api, client: Any) -> None:
    """HEAD ends at once, and so does the stream behind it."""
    fid = api.execution()
    head = client.head(f"/v1/executions/{fid}/events?follow=1")
    assert (head.status_code, head.headers["X-Koco-Fid"]) == (200, fid)
    assert client.get("/v1/executions").status_code == 200
    for _ in range(200):
        if not (len(api.parts.streams) or api.parts.spooler._readers):
            break
        api.call(_turn())
    assert (len(api.parts.streams), dict(api.parts.spooler._readers)) == (0, {})


async def _turn() -> None:
    import asyncio

    await asyncio.sleep(0.01)


def test_an_unknown_method_of_a_path_is_405(client: Any) -> None:
    """The answer lists the methods: HEAD if there is GET. OPTIONS lists the same without a key."""
    for path, allowed in (
        ("/v1/executions", "DELETE, GET, HEAD, OPTIONS"),
        ("/v1/executions/x/cancel", "OPTIONS, POST"),
        ("/v1/secrets/X", "DELETE, OPTIONS, PUT"),
    ):
        for method in ("PATCH", "TRACE"):
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (405, "method"), (method, path)
            assert answer.headers["Allow"] == allowed
        answer = client.options(path, headers={"Authorization": ""})
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["Allow"] == allowed
    assert client.head("/v1/executions/x/cancel").status_code == 405
    assert client.options("/v1/nothing").status_code == 404


def test_a_slash_at_the_end_changes_nothing(client: Any) -> None:
    """It can matter only to services' own endpoints."""
    assert client.get("/v1/executions/").json() == client.get("/v1/executions").json()
    assert client.post("/v1/executions/").status_code == 405


def test_private_answers_are_not_cached(client: Any) -> None:
    """All answers below /v1 have `no-store`."""
    for path in ("/v1/executions", "/v1/nothing", "/v1/executions/none", "/v1/secrets"):
        assert client.get(path).headers["Cache-Control"] == "no-store"


def test_fields_selects_members(api: Api, client: Any) -> None:
    """Of each item of a list, or of the answer. The tag is that of the selected part."""
    fid = api.execution()
    page = client.get("/v1/executions", params={"fields": "status,fid", "limit": 1})
    assert set(page.json()) == {"items", "next"}
    assert page.json()["items"] == [{"status": "queued", "fid": fid}]
    one = client.get(f"/v1/executions/{fid}?fields=fid&fields=flow")
    assert one.json() == {"fid": fid, "flow": "svc/flow"}
    whole = client.get(f"/v1/executions/{fid}")
    assert client.get(f"/v1/executions/{fid}?fields=").json() == whole.json()
    assert one.headers["ETag"] != whole.headers["ETag"]
    known = {"If-None-Match": one.headers["ETag"]}
    assert client.get(f"/v1/executions/{fid}?fields=fid,flow", headers=known).status_code == 304


def test_an_unknown_field_is_refused(api: Api, client: Any) -> None:
    """400 with the known fields, for an empty list, too."""
    for path in (f"/v1/executions/{api.execution()}", "/v1/executions", "/v1/locks?status=expired"):
        answer = client.get(path, params={"fields": "fid,password"})
        assert (answer.status_code, answer.json()["code"]) == (400, "usage"), path
        assert "'password'" in answer.json()["detail"]
        assert "fid, " in answer.json()["hint"]


def test_answers_of_services_are_not_changed() -> None:
    """Tags, parameters and methods of a service's endpoint are its own."""
    parts = bare_parts()
    forwarded = {
        route.path_format
        for route in create_app(parts).routes
        if route.path_format.startswith(etag._FORWARDED)
    }
    assert forwarded == {"/v1/services/{service}/app", "/v1/services/{service}/app/{path}"}


def test_fields_is_ignored_if_the_answer_is_not_json(api: Api, client: Any) -> None:
    """A page is sent whole, and an error unchanged."""
    path = f"/v1/executions/{ended(api, HTML('<p>'))}/result?fields=fid"
    assert client.get(path, headers={"Accept": "text/html"}).text == "<p>"
    assert set(client.get(path).json()) == {"fid"}
    assert client.get("/v1/executions/none?fields=fid").json()["code"] == "not_found"
