"""Which requests are for Kodosumi's API, and every route of it by caller."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from koco.api.kodosumi.app import PUBLIC, make_routes
from koco.api.kodosumi.routes import outputs
from koco.store.model import NewFile
from tests.support.api_server import Api
from tests.support.kodosumi_api import GREET, client_of, execute, serving_kodosumi
from tests.support.whole_api import SHA256


@dataclass(frozen=True)
class Call:
    """A call of a route: the scope that it takes, and whether it is about an execution of Ada's."""

    method: str
    path: str
    scope: str | None
    is_about: bool = False
    body: Any = None


UPLOAD = "00000000-0000-4000-8000-000000000000"
ITEM = {"filename": "a.txt", "totalChunks": 1}
#: Each route, by its name; several paths of one have a number.
ROUTES = {
    "add_chunk": Call("POST", "/files/chunk", "launch"),
    "answer_lock": Call("POST", "/lock/{fid}/review", "launch", True, {"why": "x"}),
    "answer_lock_2": Call("POST", "/inputs/lock/{fid}/review", "launch", True, {"why": "x"}),
    "begin_batch": Call("POST", "/files/init_batch", "launch"),
    "begin_upload": Call("POST", "/files/init", "launch", False, {}),
    "cancel_upload": Call("POST", "/files/cancel", "launch", False, {"upload_id": UPLOAD}),
    "complete_batch": Call("POST", f"/files/complete/{{fid}}/{UPLOAD}/in", "launch", True, {}),
    "complete_upload": Call("POST", "/files/complete/in", "launch", False, {}),
    "delete_execution": Call("DELETE", "/outputs/{fid}", "launch", True),
    "delete_executions": Call("DELETE", "/outputs", "launch", True, {"fid": ["{fid}"]}),
    "change_user": Call("PUT", "/role/nobody", "admin", False, {}),
    "create_user": Call("POST", "/role", "admin", False, {}),
    "list_users": Call("GET", "/role", "admin"),
    "remove_user": Call("DELETE", "/role/nobody", "admin"),
    "show_me": Call("GET", "/role/profile", "read"),
    "show_user": Call("GET", "/role/nobody", "admin"),
    "end_session": Call("POST", "/logout", "read"),
    "health": Call("GET", "/health", "read"),
    "launch": Call("POST", GREET, "launch", False, {"who": "Bo"}),
    "launch_2": Call("POST", f"/inputs{GREET}", "launch", False, {"who": "Bo"}),
    "list_changes": Call("GET", "/timeline/changes", "read"),
    "list_executions": Call("GET", "/timeline/list", "read"),
    "list_flows": Call("GET", "/flow", "read"),
    "list_tags": Call("GET", "/flow/tags", "read"),
    "read_file": Call("GET", "/files/{fid}/in", "read", True),
    "remove_files": Call("DELETE", "/files/{fid}/in/a.txt", "launch", True),
    "remove_upload": Call("DELETE", f"/files/cancel/{UPLOAD}", "launch"),
    "show_flow": Call("GET", GREET, "read"),
    "show_form": Call("GET", f"/inputs{GREET}", "read"),
    "show_lock": Call("GET", "/lock/{fid}/review", "read", True),
    "show_lock_2": Call("GET", "/inputs/lock/{fid}/review", "read", True),
    "show_page": Call("GET", "/outputs/html/{fid}", "read", True),
    "show_result": Call("GET", "/outputs/raw/{fid}", "read", True),
    "show_status": Call("GET", "/outputs/status/{fid}", "read", True),
    "show_timeline": Call("GET", "/timeline", "read"),
    "stream_events": Call("GET", "/outputs/stream/{fid}", "read", True),
    "stream_main_events": Call("GET", "/outputs/main/{fid}", "read", True),
    "stream_output": Call("GET", "/outputs/stdio/{fid}", "read", True),
    "log_in_by_form": Call("POST", "/login", None),
    "log_in_by_json": Call("POST", "/api/login", None, False, {}),
    "refuse_login": Call("GET", "/login?name=ada&password=x", None),
    "show_no_page": Call("GET", "/admin/flow", None),
}
#: The scopes of each key.
KEYS = {"reader": "read", "ada": "launch", "dora": "admin"}


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No runner ends anything here, so do not wait for it."""
    monkeypatch.setattr(outputs, "_WAIT_S", 0.05)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving_kodosumi(tmp_path_factory.mktemp("data")) as api:
        api.admit("watcher", "read", sees_all=True)
        yield api


def make(api: Api) -> str:
    """Make an execution of Ada's with a file and an open lock."""
    file = NewFile(path="in/a.txt", sha256=SHA256, size_bytes=0)
    fid = execute(api, ends=False, files=(file,))
    store = api.parts.store
    api.call(store.locks.open(fid, f"l{fid}", name="review", data=None, expires=9e9))
    return fid


def ask(api: Api, route: Call, key: str) -> httpx.Response:
    """Call a route about a new execution; of a stream, only its head is read."""
    fid = make(api) if route.is_about else ""
    body = route.body
    if isinstance(body, dict) and "fid" in body:
        body = {"fid": [fid]}
    with client_of(api, key) as client:
        request = client.http.build_request(route.method, route.path.format(fid=fid), json=body)
        answer = client.http.send(request, stream=True)
        if "event-stream" not in answer.headers.get("content-type", ""):
            answer.read()
        answer.close()
        return answer


def test_every_route_is_in_the_table() -> None:
    """Those without a key, too."""
    handlers = (each for route in make_routes().routes for each in route.route_handlers)
    names = {each.fn.__name__ for each in handlers} - {"options_handler"}
    assert names == {name.removesuffix("_2") for name in ROUTES}
    public = {name for name, route in ROUTES.items() if route.scope is None}
    assert public == PUBLIC - {"options_handler"}


@pytest.mark.parametrize("name", ROUTES)
def test_access(api: Api, name: str) -> None:
    """No key: 401. Too little: 403. Another user's execution: 404, as if there were none."""
    route = ROUTES[name]
    if route.scope is None:
        assert ask(api, route, "").status_code in (400, 404)
        return
    if name != "health":  # koco's own, which is public
        nobody = ask(api, route, "")
        assert (nobody.status_code, nobody.json()["error"]) == (401, "NotAuthorizedException")
    assert ask(api, route, "koco_" + "x" * 43).status_code == 401
    for key, scope in KEYS.items():
        is_let_in = route.scope in ("read", scope) or scope == "admin"
        answer = ask(api, route, "watcher" if key == "reader" else key)
        assert (answer.status_code == 403) is not is_let_in, (key, answer.status_code)
        if is_let_in and route.is_about:
            assert answer.status_code < 300 or answer.status_code == 409, (key, answer.text)
    if route.is_about:
        for key in ("bob", "narrow"):
            answer = ask(api, route, key)
            assert (answer.status_code, "no execution" in answer.text) == (404, True), key
    if route.path.endswith(GREET):
        assert ask(api, route, "narrow").status_code == 403


def test_the_setting_off_leaves_nothing(api: Api) -> None:
    """404 as for any other path, with and without a key; koco's own API goes on."""
    api.parts.settings.kodosumi_api = False
    try:
        for name, route in ROUTES.items():
            if name in ("health", "end_session"):
                continue
            answer = ask(api, route, "dora")
            assert (answer.status_code, "status_code" in answer.json()) == (404, False), name
        with api.http() as client:
            assert client.get("/v1/flows").status_code == 200
    finally:
        api.parts.settings.kodosumi_api = True


def test_kocos_own_api_stays(api: Api) -> None:
    """Its document has none of these routes, and `/health` without Kodosumi's key is koco's."""
    with api.http() as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert not [path for path in paths if path.startswith(("/flow", "/outputs", "/-", "/role"))]
        assert "kodosumi_version" not in client.get("/health").json()
    with client_of(api) as old:
        found = old.http.get("/health").json()
        assert {"status", "kodosumi_version", "ray_status", "spooler_status"} <= found.keys()
        answer = old.http.get("/outputs/status/nothing")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        found = answer.json()
        assert (found["path"], found["status_code"]) == ("/outputs/status/nothing", 404)
        assert (found["error"], found["code"]) == ("NotFoundException", "not_found")


@pytest.mark.parametrize("target", ["*", "*/x", "flow"])
def test_a_target_that_is_no_path_is_kocos(api: Api, target: str) -> None:
    """`OPTIONS *` needs no key, so it must not cost anything: no 500, no traceback in the log."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(
            f"OPTIONS {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        status = int(client.makefile("rb").readline().split()[1])
    assert 200 <= status < 500


PAGES = {
    "/": "koco --help",
    "/admin/flow": "koco flows",
    "/api/dashboard/errors": "koco ps",
    "/deploy/x": "koco deploy",
    "/flow/register": "koco deploy",
    "/serve": "koco deploy",
    "/expose/x/health": "koco deploy",
    "/exchange/import": "koco init --from",
    "/audit": "koco audit",
}


@pytest.mark.parametrize(("path", "command"), PAGES.items())
def test_pages_of_the_panel_name_a_command(api: Api, path: str, command: str) -> None:
    """404, and the command that takes the place of the page."""
    with client_of(api, "") as client:
        answer = client.http.get(path)
        assert answer.status_code == 404
        assert f"`{command}" in answer.json()["hint"]


@pytest.mark.parametrize("path", ["/expose/x", "/wallets", "/api/masumi/x", "/schema"])
def test_paths_without_a_counterpart_say_so(api: Api, path: str) -> None:
    with client_of(api, "") as client:
        for method in ("GET", "POST"):
            answer = client.http.request(method, path)
            assert (answer.status_code, bool(answer.json()["hint"])) == (404, True)


def test_pages_of_other_origins_may_send_the_header(api: Api) -> None:
    """If the origin is allowed, and this API is on."""
    api.parts.settings.cors_origins = ("https://a.example.com",)
    asked = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "POST"}
    try:
        for is_on in (True, False):
            api.parts.settings.kodosumi_api = is_on
            with client_of(api, "") as client:
                answer = client.http.options(GREET, headers=asked)
            sent = answer.headers["access-control-allow-headers"]
            assert ("kodosumi_api_key" in sent) is is_on
    finally:
        api.parts.settings.kodosumi_api, api.parts.settings.cors_origins = True, ()
