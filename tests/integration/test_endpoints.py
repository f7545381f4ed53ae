"""Endpoints of services' own on a real Ray and Serve: launches, failures, redeploys."""

import concurrent.futures
import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.driver import Koco, calm_s, eventually, kill9

#: A service as PROGRAMMING_MODEL.md has it, bound by its author.
HYMN = """
import asyncio

import fastapi
from ray import serve

from koco import InputsError, Launch, ServeAPI, Tracer, forms as F

app = ServeAPI()


@app.enter(
    "/",
    model=F.Model(F.InputText(name="topic", label="Topic"), F.Submit("Go")),
    summary="Hymn",
    description="Writes a hymn.",
    tags=["demo"],
    version="1.0.0",
    author="a@b.c",
    organization="Example Ltd",
)
async def enter(request: fastapi.Request, inputs: dict):
    if not inputs["topic"]:
        raise InputsError(topic="Please give me a topic.")
    return Launch(request, "hymn_app:run", inputs=inputs)


@app.lock("approval")
async def approval(data: dict):
    return F.Model(F.Checkbox(name="ok", option=data["text"]), F.Submit("Answer"))


@app.lease("approval")
async def approved(inputs: dict):
    if not inputs["ok"]:
        raise InputsError("It must be approved.")
    return {"ok": inputs["ok"]}


@app.enter("/reviewed", model=F.Model(F.InputText(name="topic")))
def reviewed(request: fastapi.Request, inputs: dict):
    return Launch(request, review, inputs=inputs)


async def review(inputs: dict, tracer: Tracer):
    return await tracer.lock("approval", {"text": inputs["topic"]})


async def run(inputs: dict, tracer: Tracer):
    await tracer.markdown(f"# {inputs['topic']}")
    return inputs["topic"].upper()


@app.post("/webhook")
async def webhook(request: fastapi.Request):
    return {"user": request.state.user, "headers": dict(request.headers)}


@serve.deployment
@serve.ingress(app)
class Hymn:
    pass


bound = Hymn.bind()
"""

#: A service whose endpoint is left to koco to bind, with everything else in it.
MANY = """
import asyncio
import datetime as dt
import os
import time

import fastapi

from koco import InputsError, Launch, ServeAPI, forms as F

app = ServeAPI(title="Many")
COUNT = "/tmp/koco-test-{token}"


def _count():
    with open(COUNT, "a") as file:
        file.write("x")


@app.enter("/", summary="Anything")
def anything(inputs):
    return Launch(None, run, inputs=inputs, summary="mine", reference="case 7")


@app.enter("/dates/by-day", [
    F.InputDate(name="day", required=True),
    {{"type": "time", "name": "at"}},
    F.InputDateTime(name="when"),
    F.InputText(name="text"),
])
async def dates(inputs, request):
    assert isinstance(inputs["day"], dt.date)
    more = {{"extra": "2026-01-01", "other": inputs["day"]}}
    return Launch(request, typed, inputs={{**inputs, **more}})


@app.enter("/odd", F.Model(F.InputText(name="how", value="none"), F.InputNumber(name="n")))
async def odd(request, inputs):
    how = inputs["how"]
    if how == "none":
        return None
    if how == "value":
        return {{"fid": 1}}
    if how == "raise":
        raise RuntimeError("the secret of the author")
    if how == "http":
        raise fastapi.HTTPException(403, "closed today")
    if how == "global":
        raise InputsError("Closed today.", n="too small")
    if how == "lambda":
        return Launch(request, lambda: 1, inputs=inputs)
    if how == "missing":
        return Launch(request, "many_app:rum", inputs=inputs)
    if how == "unsendable":
        return Launch(request, run, inputs={{"x": object()}})
    if how == "slow":
        await asyncio.sleep(30)
    if how == "count":
        _count()
        await asyncio.sleep(1)
    if how == "refer":
        return Launch(request, typed, inputs={{"day": dt.date(2026, 2, 3)}}, reference=dates)
    return Launch(request, "many_app:run", inputs=inputs)


@app.get("/hello/{{name}}")
def hello(name: str, request: fastapi.Request, n: int = 1):
    return {{
        "hello": [name] * n,
        "user": request.state.user,
        "headers": dict(request.headers),
        "pid": os.getpid(),
    }}


@app.put("/echo")
async def echo(request: fastapi.Request):
    return fastapi.Response(await request.body(), status_code=207, headers={{"X-Mine": "1"}})


@app.get("/gone")
def gone(request: fastapi.Request):
    return fastapi.responses.RedirectResponse(request.url_for("hello", name="x"))


@app.get("/parts")
def parts():
    def lines():
        for number in range(3):
            yield f"{{number}}\\n"
            time.sleep(0.05)

    return fastapi.responses.StreamingResponse(lines(), media_type="text/plain")


def run(inputs, tracer):
    tracer.result_sync(os.environ["KOCO_RELEASE"])
    return inputs


def typed(inputs):
    return {{name: type(value).__name__ for name, value in inputs.items()}}
"""


@pytest.fixture(scope="module")
def token() -> Iterator[str]:
    token = secrets.token_hex(6)
    yield token
    Path(f"/tmp/koco-test-{token}").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def hymn(koco: Koco) -> Koco:
    endpoint = {"public": ["/webhook"]}
    return koco.deploy("hymn", HYMN, app="hymn_app:bound", flows=[], endpoint=endpoint)


@pytest.fixture(scope="module")
def many(koco: Koco, token: str) -> Koco:
    flows = [{"name": "plain", "entrypoint": "many_app:run", "inputs": []}]
    code = MANY.format(token=token)
    return koco.deploy("many", code, app="many_app:app", endpoint={"timeout": 3}, flows=flows)


def ask(koco: Koco, method: str, path: str, **more: Any) -> httpx.Response:
    with koco.http() as client:
        return client.request(method, path, **more)


def key_with(koco: Koco, *scopes: str) -> dict[str, str]:
    """Create a key; return the header that sends it."""
    body = {"name": f"key-{secrets.token_hex(4)}", "scopes": scopes}
    with koco.http() as client:
        made = client.post("/v1/keys", json=body)
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['secret']}"}


def dashboard(koco: Koco) -> httpx.Client:
    token = (koco.root / "token").read_text().strip()
    return httpx.Client(
        base_url=f"http://127.0.0.1:{koco.context['cluster']['dashboard']}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )


def serve_details(koco: Koco) -> dict[str, Any]:
    with dashboard(koco) as client:
        details: dict[str, Any] = client.get("/api/serve/applications/").json()
    return details


# launching


def test_a_service_of_the_model_runs(hymn: Koco) -> None:
    """The hymn of the programming model: its form, a refusal by its handler, its execution."""
    flow = hymn.get("/v1/flows/hymn/hymn")
    assert flow["name"] == "hymn/hymn"
    assert flow["summary"] == "Hymn"
    assert flow["author"] == "a@b.c"
    assert flow["entrypoint"] == "hymn_app:enter"
    assert [each["type"] for each in flow["form"]] == ["text", "submit"]
    answer = ask(hymn, "POST", "/v1/flows/hymn", json={})
    assert answer.status_code == 422
    assert answer.json()["errors"] == {"topic": ["Please give me a topic."]}
    ended = hymn.execute("hymn", topic="the sea")
    assert ended.result == "THE SEA"
    [meta] = ended.of("meta")
    assert meta["entrypoint"] == "hymn_app:run"
    assert meta["tags"] == ["demo"]


def test_a_lock_is_shown_and_answered_by_the_services_own_code(hymn: Koco) -> None:
    """Its form is made from the flow's data, its lease may refuse, and gives what the flow gets."""
    fid = hymn.launch("reviewed", topic="Print it?")
    eventually(lambda: hymn.get("/v1/locks", flow="hymn/reviewed")["items"])
    path = f"/v1/executions/{fid}/locks/approval"
    form = hymn.get(path)["form"]
    assert [each.get("option") for each in form] == ["Print it?", None]
    refused = ask(hymn, "POST", path, json={"ok": False})
    assert refused.status_code == 422
    assert refused.json()["errors"] == {"_global_": ["It must be approved."]}
    assert ask(hymn, "POST", path, json={"no": True}).status_code == 422
    assert hymn.get("/v1/executions/latest")["status"] == "awaiting"
    assert ask(hymn, "POST", path, json={"ok": "on"}).status_code == 200
    assert hymn.events(fid)[-2]["payload"] == {"ok": True}


def test_several_flows_in_one_app_and_others_beside_it(many: Koco) -> None:
    """Each enter path is a flow named after it; flows of the manifest stand beside them."""
    flows = {each["name"]: each for each in many.get("/v1/flows")["items"]}
    mine = {name for name in flows if name.startswith("many/")}
    assert mine == {"many/many", "many/dates-by-day", "many/odd", "many/plain"}
    assert flows["many/many"]["entrypoint"] == "many_app:anything"
    assert many.run("flows", "many/odd").ok().out.count("\n") > 3
    assert many.execute("many/plain").result == {}
    ended = many.execute("many/many", anything=[1, {"goes": None}])
    assert ended.result == {"anything": [1, {"goes": None}]}
    [meta] = ended.of("meta")
    assert (meta["summary"], meta["reference"]) == ("mine", "case 7")
    assert ended.of("result") == [many.get(f"/v1/executions/{ended.fid}")["release"].__str__()]


def test_dates_are_dates_again_in_the_entrypoint(many: Koco) -> None:
    """What the handler passes on as such, under whichever name; text stays text."""
    inputs = {"day": "2026-02-03", "at": "10:30", "when": "2026-02-03T10:30", "text": "2026-02-03"}
    assert many.execute("many/dates-by-day", **inputs).result == {
        "day": "date",
        "at": "time",
        "when": "datetime",
        "text": "str",
        "extra": "str",
        "other": "date",
    }
    answer = ask(many, "POST", "/v1/flows/many/dates-by-day", json={"day": "soon", "dya": 1})
    assert set(answer.json()["errors"]) == {"day", "dya"}


def test_a_launch_may_refer_to_another_route(many: Koco) -> None:
    """The flow of that route is what runs."""
    ended = many.execute("many/odd", how="refer")
    assert many.get(f"/v1/executions/{ended.fid}")["flow"] == "many/dates-by-day"
    assert ended.result == {"day": "date"}


# failures


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("none", "returned None, not a Launch"),
        ("value", "returned a dict, not a Launch"),
        ("raise", "RuntimeError: the secret of the author"),
        ("lambda", "Launch cannot run odd.<locals>.<lambda>"),
        ("missing", "has no 'rum'"),
        ("unsendable", "cannot send the input 'x'"),
    ],
)
def test_a_handler_that_fails_is_a_clear_error(many: Koco, how: str, said: str) -> None:
    """502 with what went wrong and a hint; the traceback for owners only; nothing launched."""
    before = many.get("/v1/status")["executions"]
    answer = ask(many, "POST", "/v1/flows/many/odd", json={"how": how})
    assert answer.status_code == 502, answer.text
    error = answer.json()
    assert error["code"] == "endpoint_failed"
    assert said in error["detail"]
    assert error["hint"]
    if how == "raise":
        assert 'raise RuntimeError("the secret of the author")' in error["traceback"]
        assert "starlette" not in error["traceback"]
        assert "many_app.py" in (many.home / "local" / "control.log").read_text()
        caller = ask(
            many,
            "POST",
            "/v1/flows/many/odd",
            json={"how": how},
            headers=key_with(many, "launch"),
        )
        assert "traceback" not in caller.json()
        assert said in caller.json()["detail"]
        assert "raise RuntimeError" not in caller.text
    assert many.get("/v1/status")["executions"] == before


def test_a_handlers_own_refusal_keeps_its_fields(many: Koco) -> None:
    """`InputsError` with and without fields, as the model promises."""
    answer = ask(many, "POST", "/v1/flows/many/odd", json={"how": "global"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == {"n": ["too small"], "_global_": ["Closed today."]}


def test_a_handler_that_takes_too_long_is_told_of(many: Koco) -> None:
    """504 after the manifest's `endpoint.timeout`, and nothing launched."""
    began = time.monotonic()
    answer = ask(many, "POST", "/v1/flows/many/odd", json={"how": "slow"})
    assert answer.status_code == 504
    assert 2.5 < time.monotonic() - began < 20
    assert answer.json()["code"] == "timed_out"
    assert "within 3 s" in answer.json()["detail"]


@pytest.mark.parametrize("body", ["[1]", "nonsense", '"x"'])
def test_a_body_that_is_no_object_is_refused(many: Koco, body: str) -> None:
    """As for flows that koco serves itself."""
    assert ask(many, "POST", "/v1/flows/many/odd", content=body).status_code == 400


def hang_up(koco: Koco, path: str, body: bytes, headers: dict[str, str], after_s: float) -> None:
    """Send a request and close the connection before its answer is there."""
    url = httpx.URL(koco.context["url"])
    head = {
        "Host": f"{url.host}:{url.port}",
        "Authorization": f"Bearer {koco.context['key']}",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        time.sleep(after_s)


def calls(token: str) -> int:
    path = Path(f"/tmp/koco-test-{token}")
    return len(path.read_text()) if path.exists() else 0


def executions_of(koco: Koco, flow: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = koco.get("/v1/executions", flow=flow, limit=1000)["items"]
    return items


def test_a_client_that_hangs_up_neither_cancels_nor_doubles_a_launch(
    many: Koco, token: str
) -> None:
    """Gone in the middle of the handler: one execution; asked again with its key: the same."""
    before, called = len(executions_of(many, "many/odd")), calls(token)
    body = json.dumps({"how": "count", "n": 1}).encode()
    key = {"Idempotency-Key": secrets.token_hex(8)}
    hang_up(many, "/v1/flows/many/odd", body, key, after_s=0.3)
    eventually(lambda: calls(token) == called + 1)
    answer = ask(many, "POST", "/v1/flows/many/odd", content=body, headers=key)
    assert answer.status_code == 200
    assert len(executions_of(many, "many/odd")) == before + 1
    assert calls(token) == called + 1
    assert executions_of(many, "many/odd")[0]["fid"] == answer.json()["result"]
    hang_up(many, "/v1/flows/many/odd", body, {}, after_s=0.3)  # without a key, once as well
    eventually(lambda: len(executions_of(many, "many/odd")) == before + 2)
    time.sleep(1.2)
    assert len(executions_of(many, "many/odd")) == before + 2


# idempotency


@pytest.mark.parametrize("flow", ["many/odd", "many/plain"])
def test_the_same_key_is_the_same_execution(many: Koco, token: str, flow: str) -> None:
    """201, then 200 with the same fid; other inputs are 409; keys are each user's own."""
    inputs = {"how": "count", "n": 7} if flow == "many/odd" else {}
    key = {"Idempotency-Key": secrets.token_hex(8)}
    called = calls(token)
    first = ask(many, "POST", f"/v1/flows/{flow}", json=inputs, headers=key)
    again = ask(many, "POST", f"/v1/flows/{flow}", json=dict(reversed(inputs.items())), headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = ask(many, "POST", "/v1/flows/many/many", json={"x": 1}, headers=key)
    assert other.status_code == 409
    assert first.json()["result"] in other.json()["detail"]
    theirs = ask(
        many, "POST", f"/v1/flows/{flow}", json=inputs, headers={**key_with(many, "launch"), **key}
    )
    assert theirs.status_code == 201
    assert theirs.json() != first.json()
    if flow == "many/odd":
        assert calls(token) == called + 2
    for bad in ("", "x" * 256):
        refused = ask(many, "POST", f"/v1/flows/{flow}", json={}, headers={"Idempotency-Key": bad})
        assert refused.status_code == 400


def test_two_at_once_with_one_key_are_one(many: Koco, token: str) -> None:
    """The second waits for what the first does; the handler is called once."""
    key = {"Idempotency-Key": secrets.token_hex(8)}
    called = calls(token)

    def launch(_: int) -> httpx.Response:
        inputs = {"how": "count", "n": 8}
        return ask(many, "POST", "/v1/flows/many/odd", json=inputs, headers=key)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(launch, range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["result"] for answer in answers}) == 1
    assert calls(token) == called + 1


# other routes


def test_other_routes_are_as_in_fastapi(many: Koco) -> None:
    """Parameters, bodies, statuses, headers, streams, redirects and documentation."""
    base = "/v1/services/many/app"
    answer = ask(many, "GET", f"{base}/hello/a%20b%C3%BC", params={"n": 2}, headers={"X-A": "1"})
    assert answer.json()["hello"] == ["a bü", "a bü"]
    assert answer.json()["user"] == "admin"
    seen = answer.json()["headers"]
    assert seen["x-a"] == "1"
    assert not {"authorization", "cookie", "idempotency-key"} & set(seen)
    assert ask(many, "GET", f"{base}/hello/x", params={"n": "y"}).status_code == 422
    echo = ask(many, "PUT", f"{base}/echo", content=b"\x00\xff" * 5000)
    assert (echo.status_code, echo.headers["x-mine"]) == (207, "1")
    assert echo.content == b"\x00\xff" * 5000
    parts = ask(many, "GET", f"{base}/parts")
    assert parts.text == "0\n1\n2\n"
    assert parts.headers["content-type"].startswith("text/plain")
    assert ask(many, "GET", f"{base}/nothing").status_code == 404
    assert ask(many, "DELETE", f"{base}/echo").status_code == 405
    assert ask(many, "HEAD", f"{base}/openapi.json").status_code in (200, 405)
    assert "content-type" not in seen
    assert "Many" in ask(many, "GET", f"{base}/openapi.json").json()["info"]["title"]
    for path in ("gone", "hello/x/"):  # FastAPI redirects from one slash too many
        moved = ask(many, "GET", f"{base}/{path}")
        assert moved.status_code == 307
        assert moved.headers["location"] == f"{base}/hello/x"


def test_an_enter_path_answers_there_as_well(many: Koco) -> None:
    """GET describes the form, POST launches, the key's scopes count."""
    path = "/v1/services/many/app/dates/by-day"
    assert ask(many, "GET", path).json()["name"] == "dates-by-day"
    answer = ask(many, "POST", path, json={"day": "2026-02-03"})
    assert answer.status_code == 201
    assert many.events(answer.json()["result"])[-1]["payload"]["status"] == "finished"
    reader = key_with(many, "read")
    assert ask(many, "GET", path, headers=reader).status_code == 200
    assert ask(many, "POST", path, json={}, headers=reader).status_code == 403
    assert ask(many, "POST", "/v1/flows/many/odd", json={}, headers=reader).status_code == 403
    assert ask(many, "GET", path, headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/v1/services/many/app/_koco/locks/x",
        "/v1/services/many/app/%5Fkoco/locks/x",
        "/v1/services/many/app/../../hymn/1/",
        "/v1/services/many/app/%2e%2e/%2e%2e/hymn/1/",
        "/v1/services/nothing/app/x",
    ],
)
def test_nothing_leads_out_of_an_app(many: Koco, path: str) -> None:
    """Neither to koco's own questions nor to other services."""
    url = httpx.URL(many.context["url"])
    with socket.create_connection((url.host, url.port)) as connection:
        head = f"Host: x\r\nAuthorization: Bearer {many.context['key']}\r\nContent-Length: 2"
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n\r\n{{}}".encode())
        assert b" 404 " in connection.recv(4096).split(b"\r\n", 1)[0]


def test_a_public_route_answers_everybody_as_nobody(hymn: Koco) -> None:
    """At the control plane and at Serve's port, without a key or with one; nothing else does."""
    port = serve_details(hymn)["http_options"]["port"]
    release = hymn.get("/v1/services/hymn/releases/1")["number"]
    planes = hymn.context["url"] + "/v1/services/hymn/app"
    says = {"X-Koco-User": "61", "X-Forwarded-User": "admin", "Remote_User": "admin"}
    with httpx.Client(trust_env=False, timeout=60) as client:
        for base in (planes, f"http://127.0.0.1:{port}/koco/hymn/{release}"):
            for key in ({}, {"Authorization": f"Bearer {hymn.context['key']}"}):
                answer = client.post(f"{base}/webhook", headers={**says, **key, "X-Mine": "1"})
                assert (answer.status_code, answer.json()["user"]) == (200, "")
                seen = answer.json()["headers"]
                assert seen["x-mine"] == "1"
                told = {"authorization", "remote_user", "x-forwarded-user", "x-koco-user"}
                assert not told & set(seen)
            for path in ("/", "/reviewed", "/webhook/", "/docs", "/webhook%2f..%2freviewed"):
                assert client.post(f"{base}{path}", json={}).status_code == 401, path


def test_a_flow_cannot_be_made_public(koco: Koco) -> None:
    """The deploy fails and says why; a path without a route names the nearest."""
    for path, said in (("/reviewed", "opens the flow at '/reviewed'"), ("/webhok", "'/webhook'?")):
        endpoint = {"public": [path]}
        more = {"app": "hymn2_app:bound", "flows": [], "endpoint": endpoint}
        done = koco.run("deploy", cwd=koco.project("hymn2", HYMN, **more))
        assert done.code == 5
        assert said in done.err


def test_serves_own_port_gives_nothing_to_who_does_not_sign(many: Koco) -> None:
    """Every route, documentation too, is 401 there; a forged or repeated signature as well."""
    details = serve_details(many)
    options = details["http_options"]
    assert options["host"] == "127.0.0.1"
    release = many.get("/v1/services/many/releases/1")["number"]
    base = f"http://127.0.0.1:{options['port']}/koco/many/{release}"
    with httpx.Client(trust_env=False) as client:
        for path in (
            "/",
            "/odd",
            "/docs",
            "/openapi.json",
            "/hello/x",
            "/nothing",
            "/_koco/locks/x",
        ):
            for method in ("GET", "POST"):
                answer = client.request(method, base + path)
                assert answer.status_code == 401, path
                assert answer.json()["error"]["code"] == "unauthorized"
        forged = {"X-Koco-Signature": "0" * 64, "X-Koco-Time": str(time.time())}
        assert client.get(base + "/hello/x", headers=forged).status_code == 401
    shown = json.dumps(details)
    assert many.context["key"] not in shown
    secrets_ = many.own_secrets()
    assert secrets_
    assert not any(each.hex() in shown for each in secrets_.values())


def test_an_endpoint_that_dies_comes_back(many: Koco) -> None:
    """Executions do not live in it: they go on; launches work again within seconds."""
    pid = ask(many, "GET", "/v1/services/many/app/hello/x").json()["pid"]
    kill9(pid)
    eventually(
        lambda: ask(many, "POST", "/v1/flows/many/many", json={}).status_code == 201, within_s=30
    )
    assert ask(many, "GET", "/v1/services/many/app/hello/x").json()["pid"] != pid


# releases

#: An endpoint whose handler tells which code it is of, and so does what it launches.
VERSIONED = """
from koco import Launch, ServeAPI

app = ServeAPI()
VERSION = {version}


@app.enter("/")
def enter(request, inputs):
    return Launch(request, run, inputs={{"validated": VERSION}})


@app.get("/version")
def version():
    return VERSION


def run(inputs, tracer):
    return [inputs["validated"], VERSION]
"""


def applications(koco: Koco) -> dict[str, str]:
    found = serve_details(koco)["applications"]
    return {name: app["status"] for name, app in found.items()}


def test_redeploys_fail_no_request_and_mix_no_code(koco: Koco) -> None:
    """Eight clients ask a route and launch through three redeploys and the way back to the first.

    Each launch is validated and run by the same release.
    """
    koco.deploy("rolling", VERSIONED.format(version=1), app="rolling_app:app", flows=[])
    launched: list[httpx.Response] = []
    asked: list[httpx.Response] = []
    stop = threading.Event()

    def hammer() -> None:
        with koco.http() as client:
            while not stop.is_set():
                launched.append(client.post("/v1/flows/rolling", json={}))
                for _ in range(5):
                    asked.append(client.get("/v1/services/rolling/app/version"))
                time.sleep(0.2)

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(hammer) for _ in range(8)]
        try:
            for version in (2, 3, 4, 1):
                root = koco.project(
                    "rolling", VERSIONED.format(version=version), app="rolling_app:app", flows=[]
                )
                koco.run("deploy", cwd=root).ok()
                time.sleep(0.5)
        finally:
            stop.set()
        for client in clients:
            client.result()
    assert {answer.status_code for answer in launched} == {201}
    assert {(answer.status_code, answer.text) for answer in asked} == {
        (200, str(version)) for version in (1, 2, 3, 4)
    }
    fids = [answer.json()["result"] for answer in launched]
    eventually(lambda: koco.get(f"/v1/executions/{fids[-1]}")["status"] == "finished")
    with koco.http() as client:
        some = fids[:: len(fids) // 200 + 1]
        paths = [f"/v1/executions/{fid}/events?follow=true&kind=final" for fid in some]
        lines = [json.loads(client.get(path).text.splitlines()[0]) for path in paths]
    assert {tuple(line["payload"]) for line in lines} == {(v, v) for v in (1, 2, 3, 4)}
    former = {f"koco-rolling-{number}" for number in (1, 2, 3, 4)}
    eventually(lambda: set(applications(koco)) & former == set())
    assert applications(koco)["koco-rolling-5"] == "RUNNING"


@pytest.mark.parametrize(
    ("app", "code", "said"),
    [
        ("app", "1 / 0\n", ["ZeroDivisionError", "1 / 0"]),
        (
            "bound",
            "from ray import serve\nfrom koco import ServeAPI\napp = ServeAPI()\n"
            "@app.enter('/')\ndef one(inputs): ...\n"
            "@serve.deployment\n@serve.ingress(app)\nclass Broken:\n"
            "    def __init__(self):\n        raise OSError('no model here')\n"
            "bound = Broken.bind()\n",
            ["OSError: no model here", "raise OSError('no model here')"],
        ),
    ],
    ids=["import", "constructor"],
)
def test_an_app_that_fails_leaves_the_former_release_serving(
    koco: Koco, app: str, code: str, said: list[str]
) -> None:
    """Exit 5 with the author's own lines; nothing of the failed one stays in Serve."""
    good = VERSIONED.format(version=7)
    koco.run("deploy", cwd=koco.project("sour", good, app="sour_app:app", flows=[])).ok()
    done = koco.run("deploy", cwd=koco.project("sour", code, app=f"sour_app:{app}", flows=[]))
    assert done.code == 5, done
    for text in said:
        assert text in done.err
    assert "site-packages" not in done.err
    assert koco.execute("sour").result == [7, 7]
    mine = [name for name in applications(koco) if name.startswith("koco-sour-")]
    eventually(lambda: len([n for n in applications(koco) if n.startswith("koco-sour-")]) == 1)
    assert "koco-sour-1" in mine
    assert koco.execute("sour").result == [7, 7]


def test_a_service_that_drops_its_app_loses_its_serve_application(koco: Koco) -> None:
    """Its flows become the manifest's own; an unchanged service's application stays."""
    code = VERSIONED.format(version=1)
    koco.deploy("shed", code, app="shed_app:app", flows=[])
    assert "koco-shed-1" in applications(koco)
    koco.deploy("shed", code, flows=[{"name": "run", "entrypoint": "shed_app:run"}])
    eventually(lambda: "koco-shed-1" not in applications(koco))
    assert [each["name"] for each in koco.get("/v1/flows")["items"] if "shed" in each["name"]] == [
        "shed/run"
    ]
    answer = ask(koco, "GET", "/v1/services/shed/app/")
    assert answer.status_code == 404
    assert "no endpoint of its own" in answer.json()["detail"]


def test_what_others_run_on_serve_is_kept(koco: Koco) -> None:
    """An application put there by somebody else outlives koco's deploys and removals."""
    koco.deploy("beside", VERSIONED.format(version=1), app="beside_app:app", flows=[])
    details = serve_details(koco)
    theirs = {
        "name": "koco-alike",
        "route_prefix": "/theirs",
        "import_path": "ray.serve.tests.test_config_files.world:DagNode",
        "runtime_env": {"env_vars": {"THEIR_SECRET": "kept as it is"}},
    }
    mine = [app["deployed_app_config"] for app in details["applications"].values()]
    config = {key: details[key] for key in ("proxy_location", "http_options", "grpc_options")}
    with dashboard(koco) as client:
        body = {**config, "applications": [*mine, theirs]}
        assert client.put("/api/serve/applications/", json=body).status_code == 200
    koco.deploy("beside", VERSIONED.format(version=2), app="beside_app:app", flows=[])
    eventually(lambda: "koco-beside-1" not in applications(koco))
    kept = serve_details(koco)["applications"]["koco-alike"]["deployed_app_config"]
    assert kept == theirs
    assert koco.execute("beside").result == [2, 2]
    with dashboard(koco) as client:  # leave no other test's Serve with it
        details = serve_details(koco)
        mine = [
            app["deployed_app_config"]
            for app in details["applications"].values()
            if app["deployed_app_config"] and app["name"] != "koco-alike"
        ]
        body = {**config, "applications": mine}
        assert client.put("/api/serve/applications/", json=body).status_code == 200


def test_a_control_plane_killed_in_mid_deploy_goes_on_with_the_app(koco: Koco) -> None:
    """The release becomes live after the restart, once, and what served before serves meanwhile."""
    slow = "import time\ntime.sleep(2)\n" + VERSIONED.format(version=2)
    koco.deploy("killed", VERSIONED.format(version=1), app="killed_app:app", flows=[])
    root = koco.project("killed", slow, app="killed_app:app", flows=[])
    process = koco.popen("deploy", cwd=root)
    eventually(lambda: "koco-killed-2" in applications(koco))
    kill9(koco.control_pid())
    eventually(lambda: koco.get("/v1/status"))
    assert koco.execute("killed").result in ([1, 1], [2, 2])
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err)
    assert koco.execute("killed").result == [2, 2]
    eventually(lambda: "koco-killed-1" not in applications(koco))
    assert koco.get("/v1/services/killed/releases/2")["status"] == "live"
    kill9(koco.control_pid())  # and at rest: everything is found as it is
    eventually(lambda: koco.get("/v1/status"))
    assert koco.execute("killed").result == [2, 2]
    assert applications(koco)["koco-killed-2"] == "RUNNING"


def test_a_new_head_gets_the_endpoints_back(fresh: Koco) -> None:
    """After `koco down` and `koco up`, a service's own endpoint serves again, by itself."""
    fresh.up()
    with contextlib.suppress(KeyError):
        assert serve_details(fresh)["controller_info"] == {}, "Serve runs though nothing needs it"
    fresh.deploy("again", VERSIONED.format(version=4), app="again_app:app", flows=[])
    fresh.run("down").ok()
    fresh.up()
    # On a busy machine Serve takes longer to start than the endpoint's timeout.
    eventually(lambda: fresh.run("run", "again", "--wait").code == 0, within_s=120)
    assert fresh.execute("again").result == [4, 4]


TARDY = """
from koco import Launch, ServeAPI

app = ServeAPI()


@app.enter("/")
def enter():
    return Launch(None, "tardy_flow:run")
"""

#: Takes its time where it runs, and none where the endpoint looks whether it is there.
TARDY_FLOW = """
import sys
import time

if "koco.runner.actor" in sys.modules:
    time.sleep(4)


def run():
    time.sleep(60)
"""


def test_an_execution_is_cancelled_while_its_module_is_imported(koco: Koco) -> None:
    """It ends once that is done, long before its grace is over, and its runner goes on."""
    folder = koco.project("tardy", TARDY, app="tardy_app:app", flows=[])
    (folder / "tardy_flow.py").write_text(TARDY_FLOW)
    koco.run("deploy", cwd=folder).ok()
    fid = koco.launch("tardy")
    time.sleep(1)
    ask(koco, "POST", f"/v1/executions/{fid}/cancel", json={"grace_s": 60}).raise_for_status()
    began = calm_s()
    assert koco.events(fid)[-1]["payload"] == {"status": "cancelled"}
    assert calm_s() - began < 30
