"""Every route of the API, called without a key, with each scope, by others, and by limited keys.

The tests fail for a route that is not in the table, so each new one must say who may call it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from koco.api.app import _make_routes, create_app
from koco.control.access.login_throttle import Attempts
from koco.control.health.doctor import Doctor
from koco.events.model import Status
from koco.manifest import load
from koco.manifest.rules import owner_name
from koco.store.model import NewExecution, NewFile, ReleaseFailure
from tests.support.api_server import Api, serving
from tests.support.contract import bare_parts
from tests.support.releases import manifest
from tests.support.whole_api import MANIFEST, SHA256, complete


@dataclass(frozen=True)
class Call:
    """A call of a route, the scope that it takes, and the kind of object that it is about."""

    method: str
    path: str
    #: None if it takes no key.
    scope: str | None
    #: `execution`, `flow`, `service` or `shared`: objects that others or limited keys may not see.
    about: str = ""
    body: Any = None
    headers: Any = None


FID = "/v1/executions/{fid}"
MCP = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
UPLOAD = {"Upload-Offset": "0", "Upload-Length": "1"}

ROUTES = {
    "act": Call("PUT", "/v1/services/svc/app/x", "launch", "service"),
    "answer_lock": Call("POST", f"{FID}/locks/review", "launch", "execution", True),
    "cancel_executions": Call("POST", "/v1/executions/cancel?fid=none", "launch"),
    "cancel_execution": Call("POST", f"{FID}/cancel", "launch", "execution"),
    "change_settings": Call(
        "PATCH", "/v1/settings", "admin", "", {"values": {"session_hours": 12}}
    ),
    "change_user": Call("PATCH", "/v1/users/nobody", "admin", "", {"active": True}),
    "create_key": Call("POST", "/v1/keys", "admin", "", {"name": "ada"}),
    "create_release": Call(
        "POST", "/v1/services/svc/releases", "deploy", "service", {"manifest": {}, "bundle": SHA256}
    ),
    "create_session": Call("POST", "/v1/session", None, "", {"name": "x", "password": "y"}),
    "create_webhook": Call(
        "POST", "/v1/webhooks", "launch", "", {"name": "ada", "url": "https://example.com/"}
    ),
    "create_user": Call("POST", "/v1/users", "admin", "", {"name": "ada", "password": "z" * 12}),
    "delete_executions": Call("DELETE", "/v1/executions?fid=none", "launch"),
    "delete_execution": Call("DELETE", FID, "launch", "execution"),
    "describe": Call("GET", "/openapi.json", None),
    "end_session": Call("DELETE", "/v1/session", "read"),
    "examine": Call("POST", "/v1/doctor", "read"),
    "export_history": Call("GET", f"{FID}/steps/history", "launch", "own execution"),
    "describe_resource": Call("GET", "/.well-known/oauth-protected-resource/mcp", None),
    "fetch_bundle": Call("GET", "/bundles/forged/x.zip", None),
    "health": Call("GET", "/health", None),
    "launch": Call("POST", "/v1/flows/svc/flow", "launch", "flow", {}),
    "list_audit": Call("GET", "/v1/audit", "admin"),
    "list_changes": Call("GET", "/v1/changes", "read"),
    "list_execution_locks": Call("GET", f"{FID}/locks", "read", "execution"),
    "list_deliveries": Call("GET", "/v1/deliveries", "read"),
    "list_executions": Call("GET", "/v1/executions", "read"),
    "list_files": Call("GET", f"{FID}/files", "read", "execution"),
    "list_flows": Call("GET", "/v1/flows", "read"),
    "list_keys": Call("GET", "/v1/keys", "admin"),
    "list_limits": Call("GET", "/v1/limits", "read"),
    "list_locks": Call("GET", "/v1/locks", "read"),
    "list_releases": Call("GET", "/v1/services/svc/releases", "read", "service"),
    "list_secrets": Call("GET", "/v1/secrets", "deploy", "shared"),
    "list_services": Call("GET", "/v1/services", "read"),
    "list_settings": Call("GET", "/v1/settings", "admin"),
    "list_steps": Call("GET", f"{FID}/steps", "read", "execution"),
    "list_tags": Call("GET", "/v1/tags", "read"),
    "list_users": Call("GET", "/v1/users", "admin"),
    "list_webhooks": Call("GET", "/v1/webhooks", "read"),
    "look": Call("GET", "/v1/services/svc/app/x", "read", "service"),
    "make_backup": Call("POST", "/v1/backup", "admin"),
    "make_plan": Call(
        "POST",
        "/v1/plan",
        "deploy",
        "service",
        {"services": [{"manifest": {"service": "svc"}, "files": []}]},
    ),
    "put_file": Call(
        "PUT", f"{FID}/files/in/b", "launch", "execution", {"sha256": SHA256, "size_bytes": 1}
    ),
    "read_file": Call("GET", f"{FID}/files/in/a", "read", "execution"),
    "redeliver": Call("POST", "/v1/deliveries/redeliver", "launch", "", {"deliveries": [9999]}),
    "remove_webhook": Call("DELETE", "/v1/webhooks/nobody", "launch"),
    "rotate_webhook": Call("POST", "/v1/webhooks/nobody/rotate", "launch", "", {}),
    "show_webhook": Call("GET", "/v1/webhooks/nobody", "read"),
    "test_webhook": Call("POST", "/v1/webhooks/nobody/test", "launch"),
    "remove_files": Call("DELETE", f"{FID}/files/in/a", "launch", "execution"),
    "remove_user": Call("DELETE", "/v1/users/nobody", "admin"),
    "resume_executions": Call("POST", "/v1/executions/resume?fid=none", "launch"),
    "retry_executions": Call("POST", "/v1/executions/retry?fid=none", "launch"),
    "list_schedules": Call("GET", "/v1/schedules", "read"),
    "pause_schedule": Call("POST", "/v1/schedules/pause", "deploy", "", {"schedule": "none/flow"}),
    "resume_schedule": Call(
        "POST", "/v1/schedules/resume", "deploy", "", {"schedule": "none/flow"}
    ),
    "trigger_schedule": Call(
        "POST", "/v1/schedules/trigger", "launch", "", {"schedule": "none/flow"}
    ),
    "resume_execution": Call("POST", f"{FID}/resume", "launch", "own execution"),
    "retry_execution": Call("POST", f"{FID}/retry", "launch", "execution"),
    "revoke_key": Call("DELETE", "/v1/keys/nobody", "admin"),
    "roll_back": Call("POST", "/v1/services/svc/rollback", "deploy", "service", {"number": 7}),
    "rotate_key": Call("POST", "/v1/keys/nobody/rotate", "admin", "", {}),
    "send_message": Call("POST", f"{FID}/messages/note", "launch", "execution", {"data": 1}),
    "reset_limits": Call("DELETE", "/v1/limits/svc/flow", "deploy", "flow"),
    "set_limits": Call("PATCH", "/v1/limits/svc/flow", "deploy", "flow", {"running": 9}),
    "set_password": Call("PUT", "/v1/users/nobody/password", "read", "own", {"password": "z" * 12}),
    "set_secret": Call("PUT", "/v1/secrets/TOKEN", "deploy", "shared", {"value": "v"}),
    "show_bundle": Call("HEAD", f"/v1/bundles/{SHA256}", "deploy"),
    "show_execution": Call("GET", FID, "read", "execution"),
    "show_flow": Call("GET", "/v1/flows/svc/flow", "read", "flow"),
    "show_key": Call("GET", "/v1/keys/nobody", "admin"),
    "show_lock": Call("GET", f"{FID}/locks/review", "read", "execution"),
    "show_me": Call("GET", "/v1/me", "read"),
    "show_metrics": Call("GET", "/v1/metrics", "read", "shared"),
    "show_reader": Call("GET", "/docs", None),
    "show_release": Call("GET", "/v1/services/svc/releases/1", "read", "service"),
    "show_stack": Call("GET", f"{FID}/stack", "read", "execution"),
    "show_result": Call("GET", f"{FID}/result", "read", "execution"),
    "show_service": Call("GET", "/v1/services/svc", "read", "service"),
    "list_runners": Call("GET", "/v1/runners", "read"),
    "show_status": Call("GET", "/v1/status", "read"),
    "show_upload": Call("HEAD", f"/v1/blobs/{SHA256}", "launch"),
    "show_usage": Call("GET", "/v1/usage", "read"),
    "show_user": Call("GET", "/v1/users/nobody", "admin"),
    "speak_mcp": Call("POST", "/mcp", "read", "", MCP),
    "speak_mcp_of_service": Call("POST", "/mcp/svc", "read", "", MCP),
    "stream_events": Call("GET", f"{FID}/events", "read", "execution"),
    "stream_log": Call("GET", "/v1/log", "admin"),
    "stream_runner_log": Call("GET", "/v1/services/gone/log", "deploy", "service"),
    "stream_events_of_many": Call(
        "GET", f"/v1/events?fid={FID.rpartition('/')[2]}", "read", "execution"
    ),
    "undeploy": Call("DELETE", "/v1/services/gone", "deploy", "service"),
    "show_values": Call("GET", "/v1/values", None),
    "unset_secret": Call("DELETE", "/v1/secrets/MISSING", "deploy", "shared"),
    "upload": Call("PATCH", f"/v1/blobs/{SHA256}", "launch", headers=UPLOAD),
    "upload_bundle": Call("PATCH", f"/v1/bundles/{SHA256}", "deploy", headers=UPLOAD),
}

SCOPES = ("read", "launch", "deploy", "admin")
#: Secrets of keys, which are their names: each scope alone, seeing all executions …
KEYS: dict[str, dict[str, Any]] = {scope: {"sees_all": True} for scope in SCOPES}
#: … one that sees only its own, and one for other flows.
ALL_BUT_ADMIN = ("read", "launch", "deploy")
OTHERS: dict[str, dict[str, Any]] = {
    "other": {},
    "narrow": {"sees_all": True, "flows": ("other/*", "svc/flow2")},
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.call(complete(api))
        for scope, more in KEYS.items():
            api.admit(scope, scope, **more)
        for name, more in OTHERS.items():
            api.admit(name, *ALL_BUT_ADMIN, **more)
        yield api


def names(app: Any) -> set[str]:
    """Return the names of an application's routes, except those that litestar adds for OPTIONS."""
    handlers = (each for route in app.routes for each in getattr(route, "route_handlers", ()))
    return {each.fn.__name__ for each in handlers} - {"options_handler"}


def test_every_route_is_in_the_table(api: Api) -> None:
    """Those without a key, too."""
    parts = bare_parts()
    assert names(create_app(parts)) == set(ROUTES)


def ask(api: Api, route: Call, key: str | None) -> httpx.Response:
    """Send a request to a route with a key, about a new execution."""
    fid = new_execution(api) if "{fid}" in route.path else ""
    headers = {**(route.headers or {}), "Authorization": f"Bearer {key}"}
    body = {"content": b"x"} if route.headers else {"json": route.body}
    if route.body is None and not route.headers:
        body = {}
    with api.http() as client:
        if key is None:
            del headers["Authorization"], client.headers["Authorization"]
        return client.request(route.method, route.path.format(fid=fid), headers=headers, **body)


def new_execution(api: Api) -> str:
    """Make an execution of Ada's that has a file and an open lock, and has not ended."""
    upload = NewFile(path="in/a", sha256=SHA256, size_bytes=0)
    new = NewExecution(
        flow="svc/flow", service="svc", release=1, inputs={}, user="ada", files=(upload,)
    )
    store = api.parts.store

    async def make() -> str:
        execution, _ = await store.executions.create(new)
        await store.locks.open(
            execution.fid, f"l{execution.fid}", name="review", data=None, expires=9e9
        )
        fid: str = execution.fid
        return fid

    made: str = api.call(make())
    return made


@pytest.mark.parametrize("name", ROUTES)
def test_missing_and_unknown_keys_are_refused(api: Api, name: str) -> None:
    """401 with `WWW-Authenticate` on every route, without a hint whether the object exists."""
    route = ROUTES[name]
    api.parts.attempts = Attempts()  # too many wrong keys are 429
    for key in (None, "koco_" + "x" * 43, "kocos_" + "x" * 43, "kocof_x_y"):
        answer = ask(api, route, key)
        if route.scope is None:
            assert answer.status_code < 500 or name == "health"
            continue
        assert answer.status_code == 401, (key, answer.text)
        assert answer.headers["www-authenticate"].partition(" ")[0] == "Bearer"


@pytest.mark.parametrize("name", [name for name, each in ROUTES.items() if each.scope])
def test_each_scope_alone_opens_its_routes(api: Api, name: str) -> None:
    """Each includes `read`, and `admin` all. A refusal names the missing scope."""
    route = ROUTES[name]
    for scope in SCOPES:
        answer = ask(api, route, scope)
        is_let_in = route.scope in ("read", scope) or scope == "admin"
        if route.about.startswith("own") and scope != "admin":
            is_let_in = False
        assert (answer.status_code == 403) is not is_let_in, (scope, answer.text)
        assert answer.status_code != 401
        if not is_let_in and not route.about.startswith("own") and route.method != "HEAD":
            assert f"no scope '{route.scope}'" in answer.json()["detail"]
        if route.about == "execution" and is_let_in:
            assert "no execution" not in answer.text


@pytest.mark.parametrize("name", [n for n, e in ROUTES.items() if e.scope not in (None, "admin")])
def test_other_users_objects_are_not_found(api: Api, name: str) -> None:
    """Callers who see only their own executions get 404, as if there were none."""
    route = ROUTES[name]
    answer = ask(api, route, "other")
    if route.about.endswith("execution"):
        assert answer.status_code == 404
        assert "no execution" in answer.json()["detail"]
    else:
        assert (answer.status_code == 403) is (route.about == "own")


@pytest.mark.parametrize("name", [n for n, e in ROUTES.items() if e.scope not in (None, "admin")])
def test_limited_keys_reach_no_other_flows(api: Api, name: str) -> None:
    """403 for other flows and services by name, and no list contains them."""
    route = ROUTES[name]
    answer = ask(api, route, "narrow")
    if route.about.endswith("execution"):
        assert answer.status_code == 404
    else:
        assert (answer.status_code == 403) is bool(route.about), answer.text
    if answer.status_code == 200 and name not in ("show_me",):
        assert b"svc" not in answer.content


def test_lists_show_only_the_callers_own(api: Api) -> None:
    """Executions, locks and counts. A key that sees all executions gets all of them."""
    api.admit("quiet", "launch")
    fid = new_execution(api)
    api.execution(Status.CANCELLED, user="quiet")
    mine = api.execution(user="quiet")
    for path in ("/v1/executions", "/v1/locks", "/v1/changes"):
        for who in ("admin", "quiet", "narrow"):
            with api.http(who) as client:
                page = client.get(path, params={"limit": 1000}).json()
                found = [each["fid"] for each in page["items"]]
            assert (fid in found) is (who == "admin"), (path, who)
            assert (mine in found) is (who in ("admin", "quiet") and path != "/v1/locks")
    with api.http("quiet") as client:
        assert client.get("/v1/status").json()["executions"] == {"queued": 1}
        assert [each["name"] for each in client.get("/v1/status").json()["services"]] == ["svc"]
    with api.http("narrow") as client:
        assert client.get("/v1/status").json()["executions"] == {}
        assert client.get("/v1/status").json()["services"] == []


def test_the_status_has_services_that_are_still_starting(api: Api) -> None:
    """Only the newest release of each, and none of a service that is live."""
    releases = api.parts.store.releases
    for service in ("soon", "soon", "svc"):
        about = {"bundle": "", "fingerprint": "", "by": "ada"}
        api.call(releases.create(service, manifest=manifest(service=service), **about))
    with api.http("admin") as client:
        found = client.get("/v1/status").json()["services"]
    states = {each["name"]: (each["release"], each["status"]) for each in found}
    assert len(states) == len(found)
    assert states["soon"] == (2, "starting")
    assert states["svc"][1] == "failing"  # its runner cannot start in this test
    for number in (1, 2):
        api.call(releases.fail("soon", number, ReleaseFailure(message="gone")))


def test_latest_is_the_callers_own(api: Api) -> None:
    """Even if they see all executions: nobody may cancel another user's launch by it."""
    api.admit("boss", "admin", sees_all=True)
    with api.http("boss") as client:
        none = client.get("/v1/executions/latest")
        assert (none.status_code, "of yours" in none.json()["detail"]) == (404, True)
        mine = api.execution(user="boss")
        new_execution(api)
        assert client.get("/v1/executions/latest").json()["fid"] == mine
        # By its fid, or the beginning of it, it is still anybody's that may see it.
        others = new_execution(api)
        assert client.get(f"/v1/executions/{others[:10]}").json()["fid"] == others


def test_short_names_mean_visible_flows(api: Api) -> None:
    """Neither a hint nor a conflict names others."""
    with api.http("narrow") as client:
        for name in ("flow", "svc", "flo"):
            answer = client.get(f"/v1/flows/{name}")
            assert answer.status_code == 404
            assert "svc" not in (answer.json()["hint"] or "")
        assert client.get("/v1/executions", params={"flow": "flow"}).status_code == 404
        assert client.get("/v1/executions", params={"flow": "svc/flow"}).json()["items"] == []


def test_only_a_person_and_admins_change_that_persons_own_service(api: Api) -> None:
    """Others neither deploy nor roll back nor remove it, also if they have nearly the same name."""
    others = ("eve", "ada-b", "ada_b", "ada.b.")
    for name in ("ada.b", *others):
        api.admit(name, "deploy")
    api.admit("chief", "admin")
    service = f"svc~{owner_name('ada.b')}"
    path = f"/v1/services/{service}"
    body = {"manifest": {**MANIFEST, "service": service}, "bundle": SHA256}
    calls: list[tuple[str, str, Any]] = [
        ("POST", f"{path}/releases", body),
        ("POST", f"{path}/rollback", {}),
        ("DELETE", path, None),
    ]
    for method, url, sent in calls:
        statuses = []
        for name in (*others, "ada.b", "chief"):
            with api.http(name) as client:
                answer = client.request(method, url, json=sent)
            statuses.append(answer.status_code)
            if name == "eve":
                assert answer.json()["hint"] == "yours would be called svc~eve"
        assert statuses == [403] * 4 + [404, 404], (method, url)


def test_a_limited_key_gives_a_service_no_new_secrets(api: Api) -> None:
    """They may belong to other services, and its code could read them."""
    api.admit("svc-only", "deploy", flows=("svc/*",))
    with api.http("svc-only") as client:
        for asked, status in ((["A"], 404), (["A", "B"], 403)):
            body = {"manifest": {**MANIFEST, "secrets": asked}, "bundle": SHA256}
            answer = client.post("/v1/services/svc/releases", json=body)
            assert answer.status_code == status, answer.text
        assert "secrets: B" in answer.json()["detail"]


def test_a_limited_key_restores_no_removed_secrets(api: Api) -> None:
    """Otherwise its next deploy would have secrets that an unlimited key has taken away."""
    api.admit("two-only", "deploy", flows=("two/*",))
    api.call(_two_releases(api, "two", (["A", "B"], ["A"])))
    with api.http("two-only") as client:
        answer = client.post("/v1/services/two/rollback", json={"number": 1})
    api.parts.files.blobs.kept.path(SHA256).unlink()
    assert answer.status_code == 403, answer.text
    assert "secrets: B" in answer.json()["detail"]


async def _two_releases(api: Api, service: str, secrets: Iterable[list[str]]) -> None:
    store = api.parts.store
    blob = api.parts.files.blobs.kept.path(SHA256)
    blob.parent.mkdir(exist_ok=True)
    blob.touch()
    for named in secrets:
        manifest = load.check({**MANIFEST, "service": service, "secrets": named})
        release = await store.releases.create(
            service, bundle=SHA256, fingerprint="", manifest=manifest, by="ada"
        )
        await store.releases.go_live(service, release.number, [])


def test_a_route_without_a_guard_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default deny: a route has a scope, or is in the list of those without a key."""
    monkeypatch.setattr("koco.api.http.auth.PUBLIC", frozenset({"options_handler"}))
    parts = bare_parts()
    _make_routes.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="has no guard"):
            create_app(parts)
    finally:
        _make_routes.cache_clear()


def test_the_doctor_names_no_services_to_limited_callers(tmp_path: Path) -> None:
    """It does not check services for them."""
    from koco.control.health import doctor

    assert Doctor  # the same that the API asks
    assert set(doctor._LOOKS_AT_SERVICES) == {
        "services",
        "runners",
        "left in Ray",
        "serve",
    }


def test_a_secret_is_kept_for_older_releases_that_are_in_use(api: Api) -> None:
    """A parked execution may need a process after months."""
    api.call(_two_releases(api, "two", (["A"], [])))

    async def launch() -> None:
        new = NewExecution(flow="two/flow", service="two", release=1, inputs={})
        await api.parts.store.executions.create(new)
        await api.parts.vault.put("A", "value", by="ada")

    api.call(launch())
    api.parts.files.blobs.kept.path(SHA256).unlink()
    api.admit("deployer", "deploy")
    with api.http("deployer") as client:
        answer = client.delete("/v1/secrets/A")
        assert answer.status_code == 409, answer.text
        assert "release 1 of two (for executions that have not ended)" in answer.text
        assert "two" in client.delete("/v1/secrets/A?force=true").json()["services"]
