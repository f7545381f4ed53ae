"""A service's own endpoint, called in this process: forms, orders, refusals, signatures."""

import asyncio
import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any

import fastapi
import httpx
import pytest

import koco
from koco import InputsError, Launch, ServeAPI, testing
from koco import forms as F  # noqa: N812 - as flows import it
from koco.errors import DeployError, NotFoundError, UsageError
from koco.events import datetimes
from koco.events.line import encode_payload
from koco.manifest.descriptions import FlowExample, FlowHints
from koco.sdk.endpoint import serving, signing
from koco.sdk.endpoint.protocol import ANSWER
from koco.testing import Outcome

KEY = b"k" * 32
#: An object of a module that is not a function of its own.
thing = object()


def run(inputs: dict[str, Any]) -> dict[str, Any]:
    return inputs


class Flow:
    @staticmethod
    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs

    def method(self) -> None: ...


def build() -> ServeAPI:
    """Return a service's endpoint with one of everything."""
    app = ServeAPI(title="Mine")

    @app.enter("/", F.Model(F.InputText(name="topic"), F.InputDate(name="day")), summary="First")
    async def enter(request: fastapi.Request, inputs: dict[str, Any]) -> Launch:
        if inputs["topic"] == "none":
            return None  # type: ignore[return-value]
        if inputs["topic"] == "raise":
            raise RuntimeError("broken")
        if inputs["topic"] == "closed":
            raise fastapi.HTTPException(403, "closed today")
        if not inputs["topic"]:
            raise InputsError("Closed.", topic="Please give me a topic.")
        return Launch(request, run, inputs=inputs, summary=f"for {request.state.user}")

    @app.enter("/plain", tags=["a"], version="2", mood="good")
    @app.enter("/again", [{"type": "boolean", "name": "ok"}])
    def plain(inputs: dict[str, Any]) -> Launch:
        return Launch(None, "koco.errors:from_wire", inputs, reference=enter)

    @app.lock("approval")
    def approval(data: dict[str, Any]) -> F.Model:
        return F.Model(F.InputNumber(name="n", max_value=data["most"], required=True))

    @app.lease("approval")
    async def approved(inputs: dict[str, Any], data: Any, request: fastapi.Request) -> Any:
        if inputs["n"] == 0:
            raise InputsError(n="not nothing")
        return [inputs["n"], data["most"], request.state.fid]

    @app.lock("seen")
    def seen(data: Any) -> list[Any]:
        return [F.Checkbox(name="ok"), {"type": "submit", "text": "Go"}]

    @app.lease("formless")
    def formless(inputs: Any) -> Any:
        return {"got": inputs}

    @app.get("/hello/{name}")
    def hello(name: str, n: int = 1) -> list[str]:
        return [name] * n

    @app.post("/size")
    async def size(request: fastapi.Request) -> int:
        return len(await request.body())

    async def key() -> bytes:
        return KEY

    app._gate.key = key
    return app


@pytest.fixture(scope="module")
def app() -> ServeAPI:
    return build()


def send(
    app: Any, method: str, target: str, *, body: bytes = b"", root: str = "", **more: Any
) -> httpx.Response:
    """Send a request as the control plane does: signed, unless `headers` says otherwise."""
    headers = more.pop("headers", None)
    if headers is None:
        headers = signing.sign(KEY, method, target, body=body, user="ada", fid="f1")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url="http://serve") as client:
            return await client.request(method, root + target, content=body, headers=headers)

    return asyncio.run(ask())


def post(app: Any, path: str, value: Any) -> httpx.Response:
    return send(app, "POST", path, body=json.dumps(value).encode())


# launching


def test_get_describes_the_form(app: ServeAPI) -> None:
    """The flow with its metadata and form; no handler is called."""
    flow = send(app, "GET", "/").json()
    assert flow["summary"] == "First"
    assert [each["name"] for each in flow["form"]] == ["topic", "day"]
    flow = send(app, "GET", "/plain").json()
    assert (flow["name"], flow["form"], flow["tags"]) == ("plain", None, ["a"])
    assert (flow["version"], flow["mood"]) == ("2", "good")


def test_fastapis_route_options_do_no_harm() -> None:
    """JSON values become metadata of the flow, others are left out; none of them renames it."""
    app = ServeAPI()

    @app.enter("/a", name="Mine", deprecated=True, response_model=Outcome)
    def enter() -> Launch:
        return Launch(None, run)

    flow = app.describe("service").flows[0].to_wire()
    assert (flow["name"], flow["path"], flow["deprecated"]) == ("a", "/a", True)
    assert "response_model" not in flow
    assert json.loads(encode_payload(flow)) == flow
    with pytest.raises(DeployError, match="dependencies") as caught:
        app.enter("/b", dependencies=[fastapi.Depends(run)])
    assert caught.value.hint


class Small:
    """A crew."""

    def kickoff(self, inputs: Any) -> None: ...


class Costly:
    """A class that makes a crew, and counts how often."""

    made = 0

    def crew(self) -> Small:
        Costly.made += 1
        return Small()


def test_a_crew_is_made_only_once_for_the_check() -> None:
    """Later launches find that its entrypoint was already checked."""
    app = ServeAPI()
    app.enter("/")(lambda: Launch(None, f"{__name__}:Costly"))
    for _ in range(3):
        testing.submit(app)
    assert Costly.made == 1


@pytest.mark.parametrize("root", ["", "/koco/mine/1"])
def test_post_returns_an_order(app: ServeAPI, root: str) -> None:
    """Typed inputs reach the handler; the order has them as JSON, wherever the app is mounted."""
    body = b'{"topic": "sea", "day": "2026-02-03"}'
    answer = send(app, "POST", "/", body=body, root=root)
    assert answer.headers[ANSWER] == "launch"
    assert answer.json() == {
        "entrypoint": f"{__name__}:run",
        "inputs": {"topic": "sea", "day": "2026-02-03"},
        "moments": [[["day"], "date"]],
        "about": {"summary": "for ada"},
    }


def test_several_routes_may_have_one_handler(app: ServeAPI) -> None:
    """Each has its own form; a reference names a handler's route."""
    order = post(app, "/plain", {"anything": 1}).json()
    assert order["inputs"] == {"anything": 1}
    assert "flow" in order
    assert post(app, "/again", {"ok": "on"}).json()["inputs"] == {"ok": True}


def test_refused_inputs_are_reported_by_field(app: ServeAPI) -> None:
    """All from the form at once, and from the handler."""
    answer = post(app, "/", {"day": "soon", "tpoic": 1})
    assert (answer.status_code, answer.headers[ANSWER]) == (422, "errors")
    assert set(answer.json()["errors"]) == {"day", "tpoic"}
    answer = post(app, "/", {})
    assert answer.json()["errors"] == {
        "topic": ["Please give me a topic."],
        "_global_": ["Closed."],
    }


def test_a_handlers_traceback_begins_with_its_first_frame(app: ServeAPI) -> None:
    """No frame of koco's or the web framework's comes before the author's."""
    answer = post(app, "/", {"topic": "raise"})
    assert (answer.status_code, answer.headers[ANSWER]) == (500, "failure")
    failure = answer.json()
    assert (failure["type"], failure["message"]) == ("RuntimeError", "broken")
    assert failure["traceback"].splitlines()[1].endswith("in enter")
    assert "not a Launch" in post(app, "/", {"topic": "none"}).json()["message"]
    closed = post(app, "/", {"topic": "closed"}).json()
    assert (closed["status"], closed["message"]) == (403, "closed today")
    assert closed["traceback"] == ""


# Launch's arguments


def test_a_launch_names_its_entrypoint() -> None:
    """Text, a function or a class's static method; inputs are plain JSON."""
    assert Launch(None, "a.b:c").entrypoint == "a.b:c"
    assert Launch(None, run).entrypoint == f"{__name__}:run"
    assert Launch(None, Flow.run).entrypoint == f"{__name__}:Flow.run"
    launch = Launch(
        None, run, inputs={"at": dt.time(10, 30), "list": (1, {2: dt.date(2026, 1, 2)})}
    )
    assert launch.inputs == {"at": dt.time(10, 30), "list": [1, {"2": "2026-01-02"}]}
    assert Launch(None, run).inputs == {}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Launch(None, lambda: 1), "<lambda>"),
        (lambda: Launch(None, Flow().method), "method"),
        (lambda: Launch(None, thing), "object"),  # type: ignore[arg-type]
        (lambda: Launch(None, run, inputs=[1]), "as a dict, got list"),  # type: ignore[arg-type]
        (lambda: Launch(None, run, inputs={"x": thing}), "cannot send the input 'x'"),
        (lambda: Launch(None, run, inputs={"x": {"y": {1: thing}}}), "cannot send the input 'x'"),
    ],
)
def test_an_impossible_launch_is_refused_at_once(make: Callable[[], Any], said: str) -> None:
    """At the line that makes the Launch, with a hint."""
    with pytest.raises(UsageError, match=said) as caught:
        make()
    assert caught.value.hint


def test_dates_are_restored() -> None:
    """Anywhere in JSON; text that only looks like a date stays text."""
    sent: dict[str, Any] = {
        "a": dt.date(2026, 2, 3),
        "b": [dt.time(10, 30), "10:30", {"c": dt.datetime(2026, 2, 3, 10, 30, tzinfo=dt.UTC)}],
        "d": "2026-02-03",
        "e": {"f": (1, dt.datetime(2026, 2, 3))},
    }
    there = json.loads(json.dumps(json.loads(encode_payload(sent))))
    assert there["a"] == "2026-02-03"
    expected = {**sent, "e": {"f": [1, dt.datetime(2026, 2, 3)]}}
    assert datetimes.restore(there, datetimes.find(sent)) == expected
    assert datetimes.find({"x": ["2026-02-03", 1, None]}) == []
    endless: list[Any] = []
    endless.append(endless)
    assert datetimes.find(endless) == []


# locks and leases


def test_a_lock_shows_its_handlers_form(app: ServeAPI) -> None:
    """From the flow's data; as elements or as dicts; no form if the app has no such lock."""
    answer = post(app, "/_koco/locks/approval", {"data": {"most": 3}})
    assert answer.headers[ANSWER] == "form"
    assert answer.json()["form"] == [
        {"type": "number", "name": "n", "required": True, "max_value": 3}
    ]
    form = post(app, "/_koco/locks/seen", {"data": None}).json()["form"]
    assert [each["type"] for each in form] == ["boolean", "submit"]
    assert post(app, "/_koco/locks/other", {}).json()["form"] is None


def test_a_lease_gets_validated_values(app: ServeAPI) -> None:
    """The lock's form validates them; the handler's result is the answer; refusals have fields."""
    asked = {"inputs": {"n": "2"}, "data": {"most": 3}}
    answer = post(app, "/_koco/leases/approval", asked)
    assert answer.headers[ANSWER] == "value"
    assert answer.json() == {"value": [2, 3, "f1"], "moments": [], "hidden": []}
    for n, said in (("4", "3"), ("0", "not nothing"), ("", "required")):
        answer = post(app, "/_koco/leases/approval", {**asked, "inputs": {"n": n}})
        assert answer.headers[ANSWER] == "errors", n
        assert said in answer.json()["errors"]["n"][0]


def test_a_lock_without_a_lease_passes_the_values_on(app: ServeAPI) -> None:
    """And a lease without a lock gets the answer unchanged."""
    assert post(app, "/_koco/leases/seen", {"inputs": {"ok": "on"}}).json() == {
        "value": {"ok": True},
        "moments": [],
        "hidden": [],
    }
    answer = post(app, "/_koco/leases/formless", {"inputs": 0}).json()
    assert answer == {"value": {"got": 0}, "moments": [], "hidden": []}


# other routes, and signatures


def test_other_routes_are_untouched(app: ServeAPI) -> None:
    """Parameters, validation and documentation are FastAPI's own."""
    assert send(app, "GET", "/hello/ada?n=2").json() == ["ada", "ada"]
    assert send(app, "GET", "/hello/ada?n=x").status_code == 422
    assert send(app, "POST", "/size", body=b"x" * 100_000).json() == 100_000
    assert send(app, "GET", "/openapi.json").json()["info"]["title"] == "Mine"
    assert ANSWER not in send(app, "GET", "/hello/ada").headers
    assert send(app, "PUT", "/").status_code == 405


@pytest.mark.parametrize(
    "path", ["/", "/hello/x", "/docs", "/openapi.json", "/_koco/locks/x", "/no"]
)
def test_unsigned_requests_are_refused(app: ServeAPI, path: str) -> None:
    """401 in koco's form, for existing routes and for missing ones."""
    for method in ("GET", "POST", "OPTIONS"):
        answer = send(app, method, path, headers={})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthorized"


def test_a_signature_covers_the_body(app: ServeAPI) -> None:
    """Another body, with the same signed headers, is refused."""
    headers = signing.sign(KEY, "POST", "/size", body=b"one")
    assert send(app, "POST", "/size", body=b"two", headers=headers).status_code == 401
    headers = signing.sign(b"x" * 32, "POST", "/size", body=b"one")
    assert send(app, "POST", "/size", body=b"one", headers=headers).status_code == 401
    headers = signing.sign(KEY, "POST", "/size", body=b"one")
    assert send(app, "POST", "/size", body=b"one", headers=headers).status_code == 200
    assert send(app, "POST", "/size", body=b"one", headers=headers).status_code == 401


def test_websockets_are_closed(app: ServeAPI) -> None:
    """The control plane never forwards one, so it must be from another caller."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def note(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/hello/x", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, note))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_outside_koco_the_error_says_so() -> None:
    """If it is run by hand, there is no control plane to ask for the key."""
    app = build()
    app._gate.key = None
    answer = send(app, "GET", "/hello/x")
    assert answer.status_code == 401
    assert "koco deploy" in answer.json()["error"]["hint"]


# the description for the deployer


def test_names_of_flows_come_from_paths() -> None:
    """`/` has the service's name; other paths become names that manifests allow."""
    app = ServeAPI()
    for path in ("/", "/a/b", "/Über Uns/", "/2nd", "/x.y_z"):

        @app.enter(path)
        def enter(inputs: Any) -> None: ...

    names = [each.name for each in app.describe("hymn").flows]
    assert names == ["hymn", "a-b", "ber-uns", "flow-2nd", "x-y-z"]


def test_invalid_routes_are_refused_where_they_are_written() -> None:
    """Paths, names and parameters, each with a hint."""
    app = ServeAPI()
    app.enter("/twice")(run)
    app.lock("twice")(lambda data: F.Model())

    def wrong(topic: str) -> None: ...

    for make in (
        lambda: app.enter("/twice")(run),
        lambda: app.enter("nowhere")(run),
        lambda: app.enter("/with/{parameter}")(run),
        lambda: app.enter("/_koco/x")(run),
        lambda: app.enter("/wrong")(wrong),
        lambda: app.lock("twice")(run),
        lambda: app.lease("wrong")(wrong),
    ):
        with pytest.raises(DeployError) as caught:
            make()
        assert caught.value.hint


def test_a_route_tells_agents_of_its_flow() -> None:
    """With the same keys as a manifest, checked in the same way."""
    app = ServeAPI()
    said = {"output": {"type": "object"}, "expose": ["mcp"], "hints": {"read_only": True}}
    app.enter("/", **said, examples=[{"inputs": {"a": 1}}], mood="good")(run)
    found = app.enters["/"].describe("svc")
    assert (found.output, found.expose, found.more) == (said["output"], ("mcp",), {"mood": "good"})
    assert found.hints == FlowHints(read_only=True)
    assert found.examples == (FlowExample(inputs={"a": 1}),)
    wrong: dict[str, Any]
    for wrong in ({"expose": ["rpc"]}, {"hints": {"safe": True}}, {"output": {"type": "x"}}):
        with pytest.raises(DeployError, match="enter '/x': "):
            app.enter("/x", **wrong)


bare = fastapi.FastAPI()
hollow = ServeAPI()
rooted = ServeAPI()
rooted.enter("/")(run)
clashing = ServeAPI()
clashing.enter("/a-b")(run)
clashing.enter("/a/b")(run)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bare", "a FastAPI, not a ServeAPI"),
        ("thing", "a object, not a ServeAPI"),
        ("hollow", "no `enter` route"),
        ("clashing", "both make a flow called 'a-b'"),
        ("missing", "has no 'missing'"),
    ],
)
def test_an_invalid_app_is_reported_to_its_author(name: str, said: str) -> None:
    """The manifest's `app` must be a ServeAPI whose flows have different names."""
    with pytest.raises(DeployError, match=said) as caught:
        serving.describe(f"{__name__}:{name}", "mine")
    assert caught.value.hint


def test_a_flow_of_the_manifest_may_not_have_the_name_of_one_of_the_endpoint() -> None:
    """The error names the endpoint's path, and says how to fix it."""
    said = "the manifest and the endpoint's path '/' both make a flow called 'mine'"
    with pytest.raises(DeployError, match=re.escape(said)) as caught:
        serving.describe(f"{__name__}:rooted", "mine", named={"mine"})
    assert "rename the flow" in str(caught.value.hint)


# an author's own tests


def test_submit_does_not_launch(app: ServeAPI) -> None:
    """It returns the handler's Launch, or raises its refusal; no signature, no Ray."""
    launch = testing.submit(app, {"topic": "sea", "day": "2026-02-03"}, user="bob")
    assert launch.entrypoint == f"{__name__}:run"
    assert launch.inputs == {"topic": "sea", "day": dt.date(2026, 2, 3)}
    assert launch.summary == "for bob"
    with pytest.raises(InputsError, match="Please give me a topic"):
        testing.submit(app, {})
    with pytest.raises(NotFoundError, match="/nowhere"):
        testing.submit(app, {}, "/nowhere")
    with pytest.raises(RuntimeError, match="broken"):
        testing.submit(app, {"topic": "raise"})


def test_both_names_can_be_imported_from_koco() -> None:
    """As services written for the model import them."""
    assert koco.ServeAPI is ServeAPI
    assert koco.Launch is Launch


def test_an_endpoint_is_not_an_entrypoint(app: ServeAPI) -> None:
    """The message says so, instead of complaining about its signature."""
    with pytest.raises(DeployError, match=r"is an endpoint \(a ServeAPI\), not a flow") as caught:
        testing.run(app, {})
    assert caught.value.hint is not None
    assert "testing.submit" in caught.value.hint
