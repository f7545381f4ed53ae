"""A service written for Kodosumi on a real Ray and Serve: its endpoint, with unchanged imports."""

import json
from typing import Any

import pytest

from tests.support.driver import Ended, Koco, eventually

SERVICE = """
import os
from dataclasses import dataclass

import fastapi
import ray
from fastapi.responses import HTMLResponse
from ray import serve

from kodosumi.core import InputsError, Launch, ServeAPI, Templates, Tracer, forms as F
from kodosumi.runner.main import Launch as SameLaunch

assert Launch is SameLaunch
app = ServeAPI()


@dataclass
class Wish:
    text: str
    names: set


class Worker:
    def __init__(self, factor):
        self.factor = factor

    async def work(self, inputs, tracer, unknown=5):
        await tracer.result(inputs.text, sorted(inputs.names))
        return {"kind": type(inputs).__name__, "factor": self.factor, "unknown": unknown}


@app.enter(
    "/",
    model=F.Model(
        F.Errors(),
        F.InputText(name="topic", label="Topic"),
        F.InputDate(name="day"),
        F.InputNumber(name="n"),
        F.Checkbox(name="ok", value=True),
        F.Submit("Go"),
    ),
    summary="Wishes",
    description="Grants wishes.",
    author="a@b.c",
    organization="Example",
    tags=["demo"],
)
async def enter(request: fastapi.Request, inputs: dict):
    error = InputsError()
    if not inputs["topic"]:
        error.add(topic="Please give me a topic.")
        error.flash("Nothing was launched.")
    if error:
        raise error
    if inputs["topic"] == "plain":
        return Launch(request, "wish_app:plain", inputs=inputs)
    factor = int(inputs["n"])
    wish = Wish(inputs["topic"], {"b", "a"})
    return Launch(request, entry_point=Worker(factor).work, inputs=wish, extra={"id": "x"})


def plain(inputs: dict, tracer: Tracer):
    return inputs


@app.enter("/parts/{part}", F.Model())
async def part(request: fastapi.Request):
    found = request.path_params["part"]
    return Launch(request, lambda inputs: f"{found} for {inputs[0]}", [request.state.user])


@app.get("/page", entry=True)
async def page(request: fastapi.Request):
    return HTMLResponse(f"<form method='post' action='{request.state.prefix}/page'>")


@app.post("/page")
async def send(request: fastapi.Request):
    return Launch(request, "wish_app:plain", dict(await request.form()))


@app.get("/where")
async def where(request: fastapi.Request):
    return {"url": str(request.url_for("where")), "is_there": os.path.exists("wish_app.py")}


@ray.remote
def is_there():
    return os.path.exists("wish_app.py")


def relative(inputs):
    return [os.path.exists("wish_app.py"), ray.get(is_there.remote())]


@app.enter("/relative", F.Model())
async def enter_relative(request: fastapi.Request):
    return Launch(request, "wish_app:relative")


@app.enter("/busy", F.Model())
async def busy(request: fastapi.Request):
    raise fastapi.HTTPException(409, "already running", headers={"Retry-After": "7"})


@app.enter("/locked", F.Model())
async def locked(request: fastapi.Request):
    return Launch(request, ask)


async def ask(inputs, tracer: Tracer):
    return await tracer.lock("approval", {"why": "because"})


@app.lock("approval")
async def approval(data: dict):
    return F.Model(F.InputText(name="text", value=data["why"]), F.Checkbox(name="ok"))


@app.lease("approval")
async def approved(inputs: dict, data: dict):
    if not inputs["ok"]:
        raise InputsError("It must be approved.")
    return {**inputs, "data": data}


@serve.deployment
@serve.ingress(app)
class Wishes:
    pass


fast_app = Wishes.bind()
"""


@pytest.fixture(scope="module")
def wish(koco: Koco) -> Koco:
    runtime = {"kodosumi": True, "chdir": True}
    return koco.deploy("wish", SERVICE, app="wish_app:fast_app", flows=[], runtime=runtime)


def test_an_object_and_a_bound_method_reach_the_runner(wish: Koco) -> None:
    """A retry has them, too."""
    ended = wish.execute("wish", topic="x", n="3", more="ignored")
    assert ended.status == "finished", ended.events
    assert ended.result == {"kind": "Wish", "factor": 3, "unknown": 5}
    assert ended.of("result") == ["x", ["a", "b"]]
    [meta] = ended.of("meta")
    assert (meta["summary"], meta["author"], meta["extra"]) == ("Wishes", "a@b.c", {"id": "x"})
    with wish.http() as client:
        again = client.post(f"/v1/executions/{ended.fid}/retry").json()["fid"]
    assert Ended(again, wish.events(again)).result == ended.result


def test_values_are_the_text_that_was_sent(wish: Koco) -> None:
    """And a refused launch names its fields."""
    ended = wish.execute("wish", topic="plain", day="2026-01-02", n="3")
    assert ended.result == {
        **{"topic": "plain", "day": "2026-01-02", "n": "3", "ok": False, "_global_": None}
    }
    with wish.http() as client:
        refused = client.post("/v1/flows/wish/wish", json={})
    assert refused.json()["errors"] == {
        "topic": ["Please give me a topic."],
        "_global_": ["Nothing was launched."],
    }


def test_a_closure_runs_at_a_path_with_a_parameter(wish: Koco) -> None:
    """Its inputs are a list."""
    with wish.http() as client:
        fid = client.post("/v1/services/wish/app/parts/b", json={}).json()["result"]
    assert Ended(fid, wish.events(fid)).result == "b for admin"


def test_a_page_launches(wish: Koco) -> None:
    """With the form that it shows."""
    with wish.http() as client:
        shown = client.get("/v1/services/wish/app/page").text
        assert "/v1/services/wish/app/page" in shown
        sent: dict[str, Any] = {"data": {"topic": "from a page"}}
        answer = client.post("/v1/services/wish/app/page", **sent)
    fid = answer.json()["fid"]
    assert answer.headers["kodosumi_launch"] == fid
    assert Ended(fid, wish.events(fid)).result == {"topic": "from a page"}


def test_a_lease_gets_all_that_was_answered(wish: Koco) -> None:
    """Keys outside of the form as well."""
    fid = wish.launch("locked")
    [lock] = eventually(lambda: wish.get_events(fid, kind="lock"))
    with wish.http() as client:
        path = f"/v1/executions/{fid}/locks/{lock['payload']['lid']}"
        assert client.post(path, json={"text": "x"}).status_code == 422
        client.post(path, json={"text": "x", "ok": "on", "more": 1}).raise_for_status()
    result = Ended(fid, wish.events(fid)).result
    assert result == {"text": "x", "ok": True, "more": 1, "data": {"why": "because"}}
    assert json.dumps(result)


def test_urls_and_relative_paths_of_an_app_work(wish: Koco) -> None:
    """URLs name its place at the control plane; the shipped folder is current in all processes."""
    base = "/v1/services/wish/app"
    with wish.http() as client:
        forged = {"Host": "evil.example.com", "X-Forwarded-Host": "evil.example.com"}
        found = client.get(f"{base}/where", headers=forged).json()
        assert found == {"url": f"{wish.context['url']}{base}/where", "is_there": True}
        document = client.get(f"{base}/openapi.json").json()
        assert document["servers"] == [{"url": base}]
        assert f"{base}/openapi.json" in client.get(f"{base}/docs").text
    assert wish.execute("wish/relative").result == [True, True]


def test_a_handlers_own_status_reaches_the_caller(wish: Koco) -> None:
    """With its detail and `Retry-After`, by each way to launch."""
    with wish.http() as client:
        for path in ("/v1/flows/wish/busy", "/v1/services/wish/app/busy"):
            answer = client.post(path, json={})
            assert (answer.status_code, answer.headers["retry-after"]) == (409, "7")
            assert (answer.json()["code"], answer.json()["detail"]) == (
                "refused",
                "already running",
            )
    done = wish.run("run", "wish/busy")
    assert done.code == 2
    assert "already running" in done.err


def test_a_server_that_a_module_starts_fails_the_deploy(koco: Koco) -> None:
    """With the line of the call, in place of a deploy without an end."""
    code = SERVICE + "\n\nserve.run(fast_app, name='by-hand', route_prefix='/by-hand')\n"
    more = {"app": "runny_app:fast_app", "flows": [], "runtime": {"kodosumi": True}}
    done = koco.run("deploy", cwd=koco.project("runny", code.replace("wish_app", "runny"), **more))
    assert done.code == 5
    assert f"runny_app.py:{len(code.splitlines())}: ray.serve.run is called" in done.err
