"""Errors as answers: one form for all of them, and a table that knows each."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import koco
from koco import errors
from koco.api.app import create_app
from koco.api.http import problem_details
from koco.api.openapi import annotations
from koco.client import answers
from koco.client.client import Client
from koco.client.context_file import Context
from koco.errors import KocoError, UnreachableError
from koco.store.errors import AwayError
from tests.support.api_server import Api, serving
from tests.support.checkout import ROOT
from tests.support.contract import bare_parts

PAGE = (ROOT / "docs/errors.md").read_text()
#: Code, status and exit code. `4xx` is a status that a service's handler chooses, 400 by default.
ROWS = [
    (code, status.replace("xx", "00"), exit_code)
    for code, status, exit_code in re.findall(r"^\| `(\w+)` \| (\w+) \| (\d+) \|", PAGE, re.M)
]
MEMBERS = {"type", "title", "status", "detail", "code", "hint", "request_id"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        yield api


def every_error() -> list[type[KocoError]]:
    """Return all classes of errors, of all modules."""
    for module in pkgutil.walk_packages(koco.__path__, "koco."):
        if not module.name.endswith(("__main__", "boot", "job")):
            importlib.import_module(module.name)
    return errors._with_subclasses(KocoError)


def test_the_docs_list_every_error() -> None:
    """Each error once, sorted by status, with its code, status and exit code."""
    documented = [(code, int(status), int(exit_code)) for code, status, exit_code in ROWS]
    there = {(each.code, each.http_status, each.exit_code) for each in every_error()}
    assert set(documented) == there
    assert len(documented) == len({code for code, *_ in documented})
    assert [status for _, status, _ in documented] == sorted(status for _, status, _ in documented)


@pytest.mark.parametrize(("code", "status", "exit_code"), ROWS)
def test_a_client_exits_with_the_documented_code(code: str, status: str, exit_code: str) -> None:
    """Even if it has no class for the error."""
    body = {"code": code, "status": int(status), "detail": "it\nfailed", "hint": "do"}
    error = errors.from_wire(body | {"request_id": "r1", "errors": {"_global_": ["it\nfailed"]}})
    assert (error.exit_code, error.message) == (int(exit_code), "it\nfailed")
    assert error.to_wire()["error"]["request_id"] == "r1"


def test_an_error_of_an_older_control_plane_can_be_read() -> None:
    """It had the form that `--json` prints."""
    old = {"error": {"code": "deploy_failed", "message": "m", "hint": "h", "detail": "Traceback"}}
    error = errors.from_wire(old)
    assert isinstance(error, errors.DeployError)
    assert (error.message, error.hint, error.detail) == ("m", "h", "Traceback")


def check(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem with this status and code, and return the problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) >= MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:koco:error:{code}"
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    return problem


def test_a_title_is_the_first_sentence_of_the_docstring() -> None:
    """The rest, after a full stop, colon or semicolon, is for readers of the code."""
    titles = {kind.code: problem_details.title(kind) for kind in every_error()}
    assert titles["method"] == "The path does not have this method"
    assert titles["limit"] == "The request exceeds a setting"
    assert not [each for each in titles.values() if set(each) & set(":;") or not each]


def test_every_error_has_the_form(api: Api) -> None:
    """Before a route is found, before the key is known, in the route, and for its body."""
    with api.http() as client:
        check(client.get("/v1/nothing"), 404, "not_found")
        check(client.get("/v1/executions/zzzz"), 404, "not_found")
        check(client.get("/v1/executions?limit=x"), 400, "usage")
        check(client.get("/v1/secrets"), 403, "not_allowed")
        refused = client.get("/v1/status", headers={"Authorization": "Bearer koco_wrong"})
        check(refused, 401, "unauthorized")
        assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_a_bug_reveals_nothing(api: Api) -> None:
    """500 in the same form. The log has the cause with the request's id."""
    with api.http() as client:
        problem = check(client.get("/v1/flows"), 500, "error")  # there is no catalog here
    assert "catalog" not in str(problem)


def test_an_answer_has_the_requests_id(api: Api) -> None:
    """The client's own if it is valid, otherwise a new one."""
    with api.http() as client:
        for path in ("/v1/executions", "/v1/nothing", "/v1/executions/none"):
            answer = client.get(path, headers={"X-Request-ID": "my.id-1_A"})
            assert answer.headers["X-Request-ID"] == "my.id-1_A"
            for bad in ("", "x" * 65, "a b", "é".encode(), "<script>"):
                own = client.get(path, headers={"X-Request-ID": bad}).headers["X-Request-ID"]
                assert re.fullmatch(r"[0-9a-f]{16}", own), bad


# bodies


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        (b'{"name": 5}', "/name", "Expected `str`, got `int`"),
        (b'{"name": "x", "scopes": ["read", 5]}', "/scopes/1", "Expected `str`, got `int`"),
        (b'{"scopes": []}', None, "missing required field `name`"),
        (b'{"name": "x", "nmae": 1}', None, "unknown field `nmae`"),
        (b'{"name": ', None, "truncated"),
        (b'{"name": "x", "expires_s": NaN}', None, "malformed"),
        (b"[]", None, "Expected `object`, got `array`"),
        (b"", None, "the body is missing"),
        (b'{"name":' * 40_000, None, ""),
    ],
)
def test_a_wrong_body_is_refused_with_the_place(
    api: Api, body: bytes, pointer: str | None, message: str
) -> None:
    """400 with the expected type and a JSON pointer to the wrong value."""
    api.admit("root", "admin")
    with api.http("root") as client:
        problem = check(client.post("/v1/keys", content=body), 400, "usage")
    assert message in problem["detail"]
    assert "POST" not in problem["detail"]
    assert problem.get("pointer") == pointer


def test_a_body_must_be_json(api: Api) -> None:
    """415 for forms and texts. JSON of any type is accepted, and a body without a type is tried."""
    api.admit("root", "admin")
    with api.http("root") as client:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "x"):
            answer = client.post("/v1/keys", content=b"{}", headers={"Content-Type": kind})
            check(answer, 415, "media_type")
        for kind in ("application/json; charset=utf-8", "application/merge-patch+json", "JSON"):
            answer = client.post("/v1/keys", content=b"{}", headers={"Content-Type": kind})
            assert answer.status_code == (400 if "json" in kind else 415)
        assert client.post("/v1/keys", content=b"{}").status_code == 400


# pages


def test_pages_of_names_are_stable(api: Api) -> None:
    """Items that come or go between two pages neither hide nor repeat others."""
    sha256 = api.upload(b"x")
    fid = api.execution()
    path = f"/v1/executions/{fid}/files"
    with api.http() as client:

        def put(name: str) -> None:
            content = {"sha256": sha256, "size_bytes": 1}
            assert client.put(f"{path}/in/{name}", json=content).status_code == 200

        for name in "bdf":
            put(name)
        first = client.get(path, params={"limit": 2}).json()
        assert [each["path"] for each in first["items"]] == ["in/b", "in/d"]
        put("a")
        put("e")
        client.delete(f"{path}/in/d")
        rest = client.get(path, params={"limit": 2, "cursor": first["next"]}).json()
        assert [each["path"] for each in rest["items"]] == ["in/e", "in/f"]
        assert rest["next"] is None
        for bad in ("x", "!", first["next"] + "=", "é", "", first["next"] + " "):
            problem = check(client.get(path, params={"cursor": bad}), 400, "usage")
            assert "not a cursor" in problem["detail"]
        for limit in (0, -1, 1001):
            check(client.get(path, params={"limit": limit}), 400, "usage")


def test_every_list_has_pages() -> None:
    """Each `{items, next}` has `limit` and `cursor`. The feed of changes has `since`."""
    parts = bare_parts()
    without = set()
    for route in create_app(parts).routes:
        for handler in getattr(route, "route_handlers", ()):
            parameters = handler.parsed_fn_signature.parameters.keys()
            is_list = "GET" in handler.http_methods and annotations.members(handler)[1]
            if is_list and not {"limit", "cursor"} <= parameters:
                without.add(handler.fn.__name__)
    assert without == {"list_changes"}


def test_a_client_collects_all_pages(api: Api) -> None:
    """It sends an id with each request, which its errors contain."""
    fid = api.execution()
    sha256 = api.upload(b"y")
    context = Context(name="test", url=api.url, key="ada")
    with Client(context) as client:
        for name in "abc":
            client.files.attach(fid, f"in/{name}", sha256=sha256, size_bytes=1)
        listed = client._transport.items(
            f"/v1/executions/{fid}/files", answers.File, {"limit": "2"}
        )
        assert [each["path"] for each in listed] == ["in/a", "in/b", "in/c"]
        with pytest.raises(errors.NotFoundError) as caught:
            client.execution("none")
    assert re.fullmatch(r"[0-9a-f]{16}", caught.value.request_id or "")


def test_unknown_parameters_are_refused(api: Api) -> None:
    """Otherwise `?sttus=error` would list everything."""
    with api.http() as client:
        answer = client.get("/v1/executions", params={"sttus": "error"})
        body = answer.json()
        assert (answer.status_code, body["hint"]) == (400, "did you mean 'status'?")
        answer = client.get("/v1/me", params={"x": "1"})
        assert (answer.status_code, answer.json()["hint"]) == (400, "it takes: fields")
        assert client.get("/openapi.json", params={"version": "1"}).status_code == 200
        with api.http("nobody's") as other:
            assert other.get("/v1/executions", params={"sttus": "error"}).status_code == 401


@pytest.mark.parametrize("key", ["wrong", "bob", "root"])
def test_only_admins_hear_where_the_store_is(
    api: Api, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells it to the operators; others hear that it is the store."""

    async def fail(*_: object, **__: object) -> None:
        raise AwayError("no: postgresql://koco@db.internal/koco: refused", hint="db.internal?")

    api.admit("bob", "deploy")
    api.admit("root", "admin")
    store = api.parts.store
    with api.http(key) as http, monkeypatch.context() as context:
        if key == "wrong":
            context.setattr(store.engine, "read", fail)  # its check needs the store
        context.setattr(store.executions, "page", fail)
        answer = http.get("/v1/executions")
    assert (answer.status_code, answer.json()["code"]) == (503, "store")
    assert ("db.internal" in answer.text) == (key == "root")
    assert ("control.log" in answer.json()["hint"]) == (key != "root")
    assert ("db.internal" in caplog.text) == (key != "root")


def test_an_answer_without_a_body_says_whose_it_is(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request of an upload is HEAD: its answer cannot have a reason."""

    async def fail(*_: object, **__: object) -> None:
        raise AwayError("the store could not be read", hint="is it there?")

    monkeypatch.setattr(api.parts.store.uploads, "renew", fail)
    client = Client(Context("test", api.url, "ada"))
    with pytest.raises(UnreachableError, match="its control plane runs, but") as caught:
        client.files._transport.call("HEAD", f"/v1/blobs/{'0' * 64}")
    assert "koco status" in (caught.value.hint or "")
