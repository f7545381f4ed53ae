"""A service's own endpoint behind the API: launches of an app in Kodosumi's dialect. Without Ray.

The app is served by a real server in place of Ray Serve, and launches end in the store.
"""

import asyncio
import base64
import pickle
from collections.abc import Iterator
from typing import Any

import fastapi
import httpx
import pytest
import uvicorn
from fastapi.responses import HTMLResponse, JSONResponse

from koco.cluster.serve import prefix_of
from koco.control.executions.launcher import Launches
from koco.control.services.catalog import Catalog
from koco.control.services.endpoint_client import Endpoints
from koco.events.model import Status
from koco.kodosumi import forms as F  # noqa: N812 - as services import it
from koco.kodosumi.endpoint import pickles
from koco.kodosumi.error import InputsError
from koco.kodosumi.launch import Launch
from koco.kodosumi.serve import ServeAPI
from koco.store.model import Execution, NewExecution
from koco.store.store import Store
from tests.support.api_server import Api, serving
from tests.support.releases import manifest

FORM = {"content-type": "application/x-www-form-urlencoded"}


def build() -> ServeAPI:
    app = ServeAPI()

    @app.enter(
        "/",
        F.Model(F.InputText(name="topic"), F.InputPassword(name="pin"), F.InputFiles(name="files")),
        summary="First",
        author="ada",
    )
    async def enter(request: fastapi.Request, inputs: dict[str, Any]) -> Launch:
        if not inputs["topic"]:
            raise InputsError("Try again.", topic="No topic.")
        if inputs["topic"] == "object":
            return Launch(request, lambda inputs: inputs, {"set": {1}, **inputs})
        found = {**inputs, "language": request.headers.get("accept-language")}
        return Launch(request, "m:f", {**found, "key": request.headers.get("authorization")})

    @app.enter("/reports/{year}", F.Model(F.InputText(name="a")))
    async def report(request: fastapi.Request, inputs: dict[str, Any]) -> Launch:
        found = {**inputs, **request.path_params, **request.query_params}
        return Launch(request, "m:f", found)

    @app.enter(
        "/hymn", F.Model(F.InputText(name="topic", value="the sea"), F.Checkbox(name="loud"))
    )
    async def hymn(request: fastapi.Request, inputs: dict[str, Any]) -> Launch:
        return Launch(request, "m:f", {"topic": inputs["topic"], "loud": inputs["loud"]})

    @app.get("/page", entry=True, summary="Page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<form method=post>")

    @app.post("/page")
    async def send(request: fastapi.Request) -> Any:
        form = await request.form()
        return Launch(request, "m:f", dict(form)) if form else HTMLResponse("empty")

    @app.get("/shown", entry=True)
    async def shown() -> HTMLResponse:
        return HTMLResponse("only to look at")

    @app.get("/at-once", entry=True)
    async def at_once(request: fastapi.Request) -> Launch:
        return Launch(request, "m:f", {"at": "once"})

    @app.get("/large")
    async def large(size: int, letter: str = "A") -> Any:
        sent = {"entrypoint": "m:f", "inputs": {}, "pickled": letter * size}
        return JSONResponse(sent, headers={"x-koco-answer": "launch"})

    @app.get("/now")
    async def now(request: fastapi.Request) -> Launch:
        return Launch(request, "m:f", {"at": "now"}, reference=enter)

    return app


class ServerOfOne:
    """A server in the place of Ray Serve."""

    def __init__(self, app: ServeAPI) -> None:
        self._app = app
        self._url = ""

    async def start(self) -> uvicorn.Server:
        async def prefixed(scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, "root_path": prefix_of("shop", 1)}, receive, send)

        config = uvicorn.Config(prefixed, port=0, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        self.task = asyncio.get_running_loop().create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        self._url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        return server

    async def wait_until_up(self, service: str, release: int) -> None: ...

    def is_coming(self, service: str, release: int) -> bool:
        return False

    async def is_routed(self, service: str, release: int, *, proxy: Any) -> bool:
        return True

    async def base(self, *, anew: bool = False) -> str:
        return self._url


class Queue:
    """The end of an accepted launch: the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def launch(self, new: NewExecution) -> Execution:
        return (await self._store.executions.create(new))[0]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        parts, app = api.parts, build()
        declared = manifest(service="shop", flows=[], app="m:app")
        api.call(
            parts.store.releases.create(
                "shop", bundle="", fingerprint="", manifest=declared, by="ada"
            )
        )
        about = app.describe("shop")
        release = api.call(parts.store.releases.go_live("shop", 1, about.flows, app=about.handlers))
        parts.catalog = Catalog()
        parts.catalog.put(release)
        serve: Any = ServerOfOne(app)
        server = api.call(serve.start())
        parts.endpoints = Endpoints(serve, secret=b"s" * 32)

        async def key() -> bytes:
            return parts.endpoints.key("shop", 1)

        app._gate.key = key
        queue: Any = Queue(parts.store)
        parts.launches = Launches(
            parts.store, queue, parts.catalog, endpoints=parts.endpoints, files=parts.files
        )
        api.admit("reader", "read")
        api.admit("limited", "read", "launch", flows=("shop/page",))
        yield api

        async def stop() -> None:
            server.should_exit = True
            await serve.task

        api.call(stop())


def launched(api: Api, path: str, key: str = "ada", **more: Any) -> Execution:
    """Launch by POST; return the execution."""
    with api.http(key) as client:
        answer = client.post(path, **more)
    assert answer.status_code in (200, 201), answer.text
    fid = answer.json().get("result") or answer.json()["fid"]
    execution: Execution = api.call(api.parts.store.executions.get(fid))
    return execution


def meta(api: Api, execution: Execution) -> dict[str, Any]:
    """Return the payload of an execution's `meta` event."""
    with api.http() as client:
        answer = client.get(f"/v1/executions/{execution.fid}/events?kind=meta&follow=false")
    found: dict[str, Any] = next(
        each["payload"] for each in map(_decode, answer.text.splitlines()) if each
    )
    return found


def _decode(text: str) -> Any:
    import json

    text = text.removeprefix("data:").strip()
    found = json.loads(text) if text.startswith("{") else {}
    return found if found.get("kind") == "meta" else None


def test_values_and_unknown_keys_reach_the_handler_as_sent(api: Api) -> None:
    """The execution is of Kodosumi's dialect, and its `meta` event has the route's metadata."""
    execution = launched(api, "/v1/flows/shop/shop", json={"topic": "x", "more": 1, "pin": "1"})
    assert execution.inputs["topic"] == "x"
    assert (execution.dialect, execution.hidden) == ("kodosumi", ("pin",))
    assert api.call(api.parts.store.executions.pickled(execution)) is None
    about = meta(api, execution)
    assert (about["summary"], about["author"], about["entrypoint"]) == ("First", "ada", "m:f")


def test_prefilled_values_are_sent_on_request(api: Api) -> None:
    """Not to other programs: Kodosumi's API has no values for absent fields. Given fields stay."""
    path, prefer = "/v1/flows/shop/hymn", {"prefer": "wait=0, prefilled"}
    assert launched(api, path, json={}).inputs == {"topic": None, "loud": False}
    prefilled = {"topic": "the sea", "loud": False}
    assert launched(api, path, json={}, headers={"prefer": "prefilled"}).inputs == prefilled
    given = {"topic": "", "loud": "on"}
    with api.http() as client:
        answer = client.post(path, json=given, headers=prefer)
    execution = api.call(api.parts.store.executions.get(answer.json()["result"]))
    assert execution.inputs == {"topic": "", "loud": True}


def test_a_pickled_launch_is_kept_for_its_runner(api: Api) -> None:
    """The control plane does not unpickle it."""
    execution = launched(api, "/v1/flows/shop/shop", json={"topic": "object"})
    blob = api.call(api.parts.store.executions.pickled(execution))
    function, inputs = pickle.loads(base64.b64decode(blob))
    assert function(inputs)["set"] == {1}
    assert execution.inputs["set"] == [1]


def test_a_retry_has_the_pickled_launch(api: Api) -> None:
    """The endpoint is not asked again."""
    former = launched(api, "/v1/flows/shop/shop", json={"topic": "object"})
    api.call(api.parts.store.executions.settle(former.fid, Status.ERROR))
    with api.http() as client:
        fid = client.post(f"/v1/executions/{former.fid}/retry").json()["fid"]
    again = api.call(api.parts.store.executions.get(fid))
    assert (again.dialect, again.inputs) == ("kodosumi", former.inputs)
    pickled = api.parts.store.executions.pickled
    assert api.call(pickled(again)) == api.call(pickled(former))


def test_a_file_may_be_a_url_or_kodosumis_upload(api: Api) -> None:
    """koco does not require that it was uploaded to it."""
    for value in ("https://example.com/a.txt", '{"items": {}, "batchId": "b"}'):
        launched(api, "/v1/flows/shop/shop", json={"topic": "x", "files": value})


def test_a_launch_at_the_path_has_the_callers_headers(api: Api) -> None:
    """Except for credentials."""
    headers = {"accept-language": "de", "accept-encoding": "gzip"}
    execution = launched(api, "/v1/services/shop/app", json={"topic": "x"}, headers=headers)
    assert (execution.inputs["language"], execution.inputs["key"]) == ("de", None)


def test_refusals_have_messages_by_field(api: Api) -> None:
    """As those of koco's own endpoints."""
    with api.http() as client:
        answer = client.post("/v1/flows/shop/shop", json={})
    assert answer.status_code == 422
    assert answer.json()["errors"] == {"topic": ["No topic."], "_global_": ["Try again."]}


def test_a_path_with_parameters_is_launched(api: Api) -> None:
    """At a concrete path, or by name with the parameters among the inputs."""
    path = "/v1/services/shop/app/reports/2026?b=2"
    execution = launched(api, path, json={"a": "1"})
    assert execution.inputs == {"a": "1", "year": "2026", "b": "2"}
    assert execution.flow == "shop/reports-year"
    with api.http() as client:
        answer = client.post("/v1/flows/shop/reports-year", json={"a": "1"})
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["year"])
    execution = launched(api, "/v1/flows/shop/reports-year", json={"a": "1", "year": 2026})
    assert execution.inputs == {"a": "1", "year": "2026"}


def test_a_key_is_for_one_path(api: Api) -> None:
    """The same key at another path is another launch."""
    with api.http() as client:
        client.headers["Idempotency-Key"] = "k1"
        first = client.post("/v1/services/shop/app/reports/2026", json={})
        again = client.post("/v1/services/shop/app/reports/2026", json={})
        other = client.post("/v1/services/shop/app/reports/2027", json={})
    assert first.json() == again.json()
    assert other.status_code == 409


# pages


def test_a_page_is_shown_and_launches(api: Api) -> None:
    """With Kodosumi's answer. The execution belongs to the page's flow."""
    with api.http() as client:
        shown = client.get("/v1/services/shop/app/page")
        assert shown.text == "<form method=post>"
        assert "sandbox" in shown.headers["content-security-policy"]
        about = client.get("/v1/flows/shop/page").json()
        assert (about["page"], about["dialect"]) == (True, "kodosumi")
        answer = client.post("/v1/services/shop/app/page", content="topic=x", headers=FORM)
        assert answer.status_code == 200
        assert answer.headers["kodosumi_launch"] == answer.json()["fid"]
        empty = client.post("/v1/services/shop/app/page", content="", headers=FORM)
        assert empty.text == "empty"
    execution = api.call(api.parts.store.executions.get(answer.json()["fid"]))
    assert (execution.flow, execution.user) == ("shop/page", "ada")
    assert execution.inputs == {"topic": "x"}


def test_a_page_is_launched_by_name_with_its_form(api: Api) -> None:
    """The inputs are sent as the page's form would send them."""
    execution = launched(api, "/v1/flows/shop/page", json={"topic": "x", "none": None})
    assert execution.inputs == {"topic": "x"}


def test_a_page_that_does_not_launch_says_that_it_is_a_page(api: Api) -> None:
    """And its path, because the service is up and nothing is wrong with it."""
    for path, status in (("shown", 405), ("page", 200)):
        with api.http() as client:
            problem = client.post(f"/v1/flows/shop/{path}", json={}).json()
        assert problem["status"] == 502
        said = f"/{path} of shop is a page, and launched nothing: POST with its form answered"
        assert f"{said} {status}" in problem["detail"]
        assert f"GET /v1/services/shop/app/{path} shows it" in problem["hint"]


def test_parameters_of_a_path_are_inputs(api: Api) -> None:
    """The form has a field for each, so that `koco flows` shows it, and `koco run` asks for it."""
    with api.http() as client:
        about = client.get("/v1/flows/shop/reports-year").json()
    year = {"type": "text", "label": "part of the path /reports/{year}", "required": True}
    assert about["form"][0] == {**year, "name": "year"}
    assert about["schema"]["required"] == ["year"]


def test_any_route_may_launch_with_the_rights_of_its_caller(api: Api) -> None:
    """Not with a key that may only read."""
    with api.http() as client:
        fid = client.get("/v1/services/shop/app/now").json()["fid"]
    execution = api.call(api.parts.store.executions.get(fid))
    assert (execution.flow, execution.user) == ("shop/shop", "ada")
    before = len(api.call(api.parts.store.executions.page()).items)
    with api.http("reader") as client:
        answer = client.get("/v1/services/shop/app/now")
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    with api.http("limited") as client:
        for path in ("now", "at-once", "reports/2026", "page/", "%2Fpage", "page/x"):
            assert client.get(f"/v1/services/shop/app/{path}").status_code == 403, path
        assert client.put("/v1/services/shop/app/page").status_code == 403
    assert len(api.call(api.parts.store.executions.page()).items) == before


def test_a_key_for_a_page_opens_this_page(api: Api) -> None:
    """It shows the page, and launches by it. Other paths need the whole service."""
    with api.http("limited") as client:
        assert client.get("/v1/services/shop/app/page").status_code == 200
    execution = launched(
        api, "/v1/services/shop/app/page", "limited", content="topic=x", headers=FORM
    )
    assert (execution.flow, execution.user) == ("shop/page", "limited")


def test_a_service_cannot_order_more_than_may_be_pickled(api: Api) -> None:
    """The limit of its library is kept without it, because the service is the author's own."""
    most = -(-pickles.MOST_BYTES // 3) * 4
    with api.http() as client:
        path = "/v1/services/shop/app/large"
        assert client.get(path, params={"size": most}).status_code == 200
        for more in ({"size": most + 1}, {"size": 9, "letter": "ä"}):
            answer = client.get(path, params=more)
            assert (answer.status_code, answer.json()["code"]) == (502, "endpoint_failed")
            assert "pickled" in answer.json()["detail"]


def test_a_page_launches_once_for_a_key(api: Api) -> None:
    """The same key with another form is refused."""
    with api.http() as client:
        client.headers["Idempotency-Key"] = "k2"
        path = "/v1/services/shop/app/page"
        first = client.post(path, content="topic=x", headers=FORM)
        again = client.post(path, content="topic=x", headers=FORM)
        other = client.post(path, content="topic=y", headers=FORM)
    assert first.json() == again.json()
    assert other.status_code == 409


def token_of(api: Api, name: str) -> str:
    """Make a user, and log in; return the session's token."""
    password, scopes = "correct horse battery", ("read", "launch")
    api.call(api.parts.users.create(name, password, scopes=scopes, by="ada"))
    with api.http() as client:
        del client.headers["authorization"]
        answer = client.post("/v1/session", json={"name": name, "password": password})
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


LAUNCHED_BY_GET = {
    "/v1/services/shop/app/now": "koco_session",
    "/v1/services/shop/app/at-once": "koco_session",
    "/-/localhost/8001/shop/-/at-once": "kodosumi_jwt",
    "/inputs/-/localhost/8001/shop/-/at-once": "kodosumi_jwt",
}
#: How browsers send a GET that somebody else wants: a link in a mail, a page over plain HTTP, an
#: image of a page at another port.
FROM_OUTSIDE: list[dict[str, str]] = [
    {},
    {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    {"sec-fetch-site": "same-origin"},
    {"kodosumi_api_key": ""},
]


@pytest.mark.parametrize(("path", "cookie"), LAUNCHED_BY_GET.items())
def test_no_cookie_launches_by_get(api: Api, path: str, cookie: str) -> None:
    """Any page could cause that. The same session in a header may, and so may a POST by cookie."""
    api.parts.settings.kodosumi_api = True
    token = token_of(api, f"eva-{len(path)}")
    shown = {"cookie": f"{cookie}={token}"}
    before = len(api.call(api.parts.store.executions.page()).items)
    with httpx.Client(base_url=api.url, trust_env=False, timeout=100, verify=False) as client:
        for more in FROM_OUTSIDE:
            for method in ("GET", "HEAD"):
                refused = client.request(method, path, headers={**shown, **more})
                assert refused.status_code in (403, 405), (method, more)
            assert "cookie" in client.get(path, headers={**shown, **more}).json()["detail"]
        assert len(api.call(api.parts.store.executions.page()).items) == before
        by_header = {**shown, "authorization": f"Bearer {token}"}
        assert client.get(path, headers=by_header).json()["fid"]
        own_page = {**shown, **FORM, "origin": api.url, "sec-fetch-site": "same-origin"}
        page = path.replace("/now", "/page").replace("/at-once", "/page")
        assert client.post(page, headers=own_page, content="topic=x").json()["fid"]
        for other in ({"origin": "null"}, {"origin": "http://127.0.0.1:1"}):
            other_page = {**shown, **FORM, **other}
            assert client.post(page, headers=other_page, content="topic=x").status_code == 403
