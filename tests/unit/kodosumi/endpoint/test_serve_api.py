"""An app in Kodosumi's dialect, called in this process: forms, orders, pages, locks, refusals."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastapi
import httpx
import msgspec
import pytest
from fastapi.responses import HTMLResponse

from koco import testing
from koco.errors import DeployError
from koco.errors import InputsError as NativeInputsError
from koco.forms import Model as NativeModel
from koco.kodosumi import forms as F  # noqa: N812 - as services import it
from koco.kodosumi.error import InputsError
from koco.kodosumi.launch import Launch
from koco.kodosumi.serve import ServeAPI, Templates
from koco.sdk.endpoint import public, serving, signing
from koco.sdk.endpoint.protocol import ANSWER

KEY = b"k" * 32
FORM = F.Model(
    F.Markdown("# Hello"),
    F.Errors(),
    F.InputText(name="topic", label="Topic"),
    F.InputPassword(name="pin"),
    F.InputNumber(name="n"),
    F.Checkbox(name="ok", value=True),
    F.InputFiles(name="files"),
    F.Action(name="go", value="GO", text="Go"),
    F.Submit("Submit"),
)


def run(inputs: Any) -> Any:
    return inputs


def build() -> ServeAPI:
    """Return an app with one of everything."""
    app = ServeAPI(title="Mine")

    @app.enter(
        "/",
        model=FORM,
        summary="First",
        description="The first.",
        tags=["b", "a"],
        author="ada@example.com",
        organization="Example",
        version="2",
        deprecated=True,
    )
    async def enter(request: fastapi.Request, inputs: dict[str, Any]) -> Launch:
        error = InputsError("Try again.")
        if inputs["topic"] == "wrong":
            error.add(topic="No.")
            error.flash("Everything is wrong.")
        if inputs["topic"] == "raise":
            raise RuntimeError("broken")
        if inputs["topic"] == "none":
            return None  # type: ignore[return-value]
        if error:
            raise error
        return Launch(request, run, inputs=inputs)

    @app.enter("/reports/{year}", F.Model(F.InputText(name="a")))
    def report(request: fastapi.Request, other: int = 3) -> Launch:
        found = {"year": request.path_params["year"], "other": other}
        return Launch(request, entry_point="m:f", inputs=found, reference=enter)

    @app.enter("/raw", F.Model())
    def raw(request: fastapi.Request) -> Launch:
        state, headers = request.state, dict(request.headers)
        found = {"user": state.user, "prefix": state.prefix, "headers": headers}
        return helper(request, found)

    @app.get("/page", entry=True, author="bob", tags=["page"])
    async def my_page(request: fastapi.Request) -> HTMLResponse:
        """Show the page."""
        return HTMLResponse("<form method=post>")

    @app.post("/page")
    async def send_page(request: fastapi.Request) -> Any:
        form = await request.form()
        if not form.get("topic"):
            return HTMLResponse("empty", status_code=200)
        return Launch(request, "m:f", inputs=dict(form), summary="sent")

    @app.get("/forgets")
    async def forgets(request: fastapi.Request) -> str:
        Launch(request, "m:f")
        return "launched?"

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("<b>broken</b>")

    @app.lock("approval")
    def approval(data: Any, request: fastapi.Request) -> F.Model:
        return F.Model(F.InputText(name="why", value=data["why"]), F.Checkbox(name="ok"))

    @app.lease("approval")
    async def approved(inputs: Any, data: Any) -> Any:
        if not inputs["ok"]:
            raise InputsError(ok="You must.")
        return {"inputs": inputs, "data": data}

    @app.lock("plain")
    async def plain() -> F.Model:
        return F.Model(F.InputPassword(name="pin"), F.Checkbox(name="ok"))

    async def key() -> bytes:
        return KEY

    app._gate.key = key
    return app


def helper(request: fastapi.Request, inputs: Any) -> Launch:
    return Launch(request, "m:f", inputs, None, "mine")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ServeAPI:
    monkeypatch.setenv("KOCO_SERVICE", "svc")
    return build()


def send(app: Any, method: str, path: str, body: bytes = b"", **headers: str) -> httpx.Response:
    """Send a request as the control plane does."""
    signed = signing.sign(KEY, method, path, body=body, user="ada", fid="f1")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://serve") as client:
            return await client.request(method, path, content=body, headers={**headers, **signed})

    return asyncio.run(ask())


def post(app: Any, path: str, value: Any, **headers: str) -> httpx.Response:
    return send(app, "POST", path, json.dumps(value).encode(), **headers)


# forms and orders


def test_get_answers_with_the_options_and_the_elements(app: ServeAPI) -> None:
    """As Kodosumi's clients read it."""
    shown = send(app, "GET", "/").json()
    assert shown["elements"] == FORM.get_model()
    assert (shown["summary"], shown["tags"], shown["deprecated"]) == ("First", ["b", "a"], True)
    annotated = {"x-author": "ada@example.com", "x-organization": "Example", "x-version": "2"}
    assert shown["openapi_extra"] == {"x-kodosumi": True, **annotated}


def test_the_handler_gets_what_was_sent(app: ServeAPI) -> None:
    """Text stays text, an absent checkbox is false, unknown keys are left out."""
    answer = post(app, "/", {"topic": "x", "n": "3", "unknown": 1})
    assert (answer.status_code, answer.headers[ANSWER]) == (200, "launch")
    order = answer.json()
    assert order["inputs"] == {
        **{"topic": "x", "pin": None, "n": "3", "ok": False},
        **{"files": None, "go": None, "_global_": None},
    }
    assert order["entrypoint"] == f"{__name__}:run"
    assert (order["dialect"], order.get("pickled")) == ("kodosumi", None)
    assert order["about"] == {
        **{"summary": "First", "description": "The first.", "deprecated": True},
        **{"author": "ada@example.com", "organization": "Example", "version": "2"},
    }


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (json.dumps({"items": {"0": {"filename": "a.txt"}}, "batchId": "b"}), {"a.txt"}),
        (["in/a.txt", "in/d/b.txt"], {"a.txt", "d/b.txt"}),
        ("in/a.txt", {"a.txt"}),
        ("https://example.com/a.txt", "https://example.com/a.txt"),
    ],
)
def test_files_are_a_set_of_names(app: ServeAPI, sent: Any, found: Any) -> None:
    """Uploaded by Kodosumi's client or by koco's. A URL stays text."""
    launch = testing.submit(app, {"topic": "x", "files": sent})
    assert launch.inputs["files"] == found


def test_a_path_may_have_parameters(app: ServeAPI) -> None:
    """The handler finds them in the request; another parameter keeps its default."""
    order = post(app, "/reports/2026", {}).json()
    assert order["inputs"] == {"year": "2026", "other": 3}
    assert order["entrypoint"] == "m:f"
    # The reference describes it.
    assert (order["flow"], order["about"]["summary"]) == ("svc", "First")
    flows = {flow.name: flow.path for flow in app.describe("svc").flows}
    assert flows["reports-year"] == "/reports/{year}"


def test_refusals_have_messages_by_field(app: ServeAPI) -> None:
    """Arguments and flashes belong to no field."""
    answer = post(app, "/", {"topic": "wrong"})
    assert (answer.status_code, answer.headers[ANSWER]) == (422, "errors")
    errors = answer.json()["errors"]
    assert errors == {"topic": ["No."], "_global_": ["Everything is wrong.", "Try again."]}


@pytest.mark.parametrize(("topic", "said"), [("raise", "broken"), ("none", "must return a Launch")])
def test_failures_of_handlers_are_reported(app: ServeAPI, topic: str, said: str) -> None:
    """As the control plane reads them."""
    answer = post(app, "/", {"topic": topic})
    assert (answer.status_code, answer.headers[ANSWER]) == (500, "failure")
    assert said in answer.json()["message"]


@pytest.mark.parametrize("body", [b"no json", b"[1]", b""])
def test_a_body_that_is_no_object_counts_as_empty(app: ServeAPI, body: bytes) -> None:
    """As in Kodosumi."""
    assert send(app, "POST", "/", body).json()["inputs"]["topic"] is None


def test_the_request_has_the_users_name_and_the_prefix(app: ServeAPI) -> None:
    """Claims of the caller are replaced; other headers arrive."""
    claims = {"x-kodosumi_user": "admin", "x-kodosumi_base": "/x", "accept-language": "de"}
    found = post(app, "/raw", {}, **claims).json()["inputs"]
    assert (found["user"], found["prefix"]) == ("ada", "/v1/services/svc/app")
    headers = found["headers"]
    assert (headers["x-kodosumi_user"], headers["accept-language"]) == ("ada", "de")


def test_extra_data_come_from_the_argument_and_the_header(app: ServeAPI) -> None:
    """Kodosumi 1.2."""
    extra = json.dumps({"identifier": "x"})
    order = post(app, "/", {"topic": "x"}, **{"x-kodosumi_extra": extra}).json()
    assert order["about"]["extra"] == {"identifier": "x"}


def test_paths_of_one_name_are_numbered() -> None:
    """Kodosumi tells flows by their paths. Of two with the same path, the first counts."""
    app = ServeAPI()

    def first(request: fastapi.Request) -> Launch:
        return Launch(request, "m:f", reference=third)

    def second() -> None: ...

    def third() -> None: ...

    app.enter("/a/b", F.Model())(first)
    app.enter("/a/b", F.Model())(second)
    app.enter("/a-b", F.Model())(third)
    flows = app.describe("svc").flows
    assert [(flow.name, flow.path) for flow in flows] == [("a-b", "/a/b"), ("a-b-2", "/a-b")]
    assert flows[0].entrypoint.endswith("first")
    assert testing.submit(app, {}, "/a/b").order["flow"] == "a-b-2"


# pages


def test_pages_are_flows_and_launch(app: ServeAPI) -> None:
    """GET shows the page; a POST of its form launches, with the options of its route."""
    page = next(flow for flow in app.describe("svc").flows if flow.page)
    assert (page.name, page.path, page.form) == ("page", "/page", None)
    assert (page.summary, page.description) == ("My Page", "Show the page.")
    assert (page.author, page.tags, page.dialect) == ("bob", ("page",), "kodosumi")
    assert send(app, "GET", "/page").text == "<form method=post>"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    order = send(app, "POST", "/page", b"topic=x+y", **kind)
    assert order.headers[ANSWER] == "launch"
    assert order.json()["inputs"] == {"topic": "x y"}
    assert order.json()["about"]["summary"] == "sent"
    assert ANSWER not in send(app, "POST", "/page", b"", **kind).headers


def test_a_launch_that_is_not_returned_is_logged(
    app: ServeAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """In Kodosumi it would have started."""
    post(app, "/", {"topic": "x"})
    assert "was not returned" not in caplog.text
    assert send(app, "GET", "/forgets").json() == "launched?"
    assert "Launch('m:f') was not returned by its handler" in caplog.text


def test_a_form_must_be_kodosumis() -> None:
    """The error says so when the module is imported."""
    with pytest.raises(DeployError, match="has a list for a form") as caught:
        ServeAPI().enter("/", model=[F.InputText(name="a")])
    assert caught.value.hint


def test_a_failing_page_hides_its_traceback(app: ServeAPI) -> None:
    """Kodosumi shows it to any caller; here it is in Serve's log."""
    answer = send(app, "GET", "/fails")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


def test_a_path_of_a_flow_cannot_be_public(app: ServeAPI) -> None:
    """Neither a page's, nor one that a parameter leads to."""
    for path in ("/page", "/raw"):
        with pytest.raises(DeployError, match="opens the flow"):
            public.check(app, [path])
    assert "/reports/2026" in app._gate._flows


def test_the_openapi_document_lists_flows(app: ServeAPI) -> None:
    """Those to show are marked."""
    paths = app.openapi()["paths"]
    assert paths["/"]["get"]["x-kodosumi"] is True
    assert paths["/"]["post"]["x-kodosumi"] is False
    assert paths["/"]["get"]["x-author"] == "ada@example.com"
    assert paths["/page"]["get"]["x-kodosumi"] is True
    assert "x-kodosumi" not in paths["/page"]["post"]


# locks


def ask(app: Any, kind: str, name: str, **asked: Any) -> httpx.Response:
    return post(app, f"/_koco/{kind}/{name}", asked)


def test_a_locks_form_is_given_in_both_forms(app: ServeAPI) -> None:
    """koco's elements for its own clients, Kodosumi's for those of the old API."""
    found = ask(app, "locks", "approval", data={"why": "because"}).json()
    assert found["elements"][0]["value"] == "because"
    assert [field.name for field in NativeModel.from_list(found["form"]).fields] == ["why", "ok"]
    assert ask(app, "locks", "unknown", data=None).json() == {"form": None}


def test_a_lease_gets_keys_outside_of_the_form(app: ServeAPI) -> None:
    """And the data of the lock."""
    sent = {"ok": "on", "more": 1}
    found = ask(app, "leases", "approval", data={"why": "x"}, inputs=sent).json()
    assert found["value"] == {
        "inputs": {"why": None, "ok": True, "more": 1},
        "data": {"why": "x"},
    }
    refused = ask(app, "leases", "approval", data={"why": "x"}, inputs={})
    assert (refused.headers[ANSWER], refused.json()["errors"]) == ("errors", {"ok": ["You must."]})


def test_a_lock_without_a_lease_gives_its_inputs(app: ServeAPI) -> None:
    """Passwords among them are never shown."""
    found = ask(app, "leases", "plain", data=None, inputs={"pin": "1"}).json()
    assert found == {"value": {"pin": "1", "ok": False}, "hidden": ["pin"]}


# deployment


def test_both_kinds_of_apps_are_found(app: ServeAPI) -> None:
    """By the same function, and their flows have names and forms that koco can show."""
    assert serving.serve_api_of(app, "m:app") is app
    about = app.describe("svc")
    assert [flow.name for flow in about.flows] == ["svc", "reports-year", "raw", "page"]
    form = NativeModel.from_list(about.flows[0].form or [])
    assert form.hidden == ("pin",)
    assert msgspec.json.decode(msgspec.json.encode(about))
    assert about.handlers.locks == ("approval", "plain")


def test_submit_returns_the_launch_or_raises_the_refusal(app: ServeAPI) -> None:
    """`koco.testing` works with these apps."""
    launch = testing.submit(app, {"topic": "x"}, user="eva")
    assert (launch.entrypoint, launch.inputs["topic"]) == (f"{__name__}:run", "x")
    assert launch.request.state.user == "eva"
    with pytest.raises(NativeInputsError) as caught:
        testing.submit(app, {"topic": "wrong"})
    assert caught.value.errors["topic"] == ["No."]


def test_templates_know_static_and_frames(tmp_path: Path) -> None:
    """Any number of directories; pages may extend the frame."""
    (tmp_path / "a.html").write_text(
        "{% extends '_frame.html' %}{% block page %}{{ static('/x.css') }} {{ name }}{% endblock %}"
    )
    for templates in (Templates(directory=str(tmp_path)), Templates([tmp_path])):
        page = templates.get_template("a.html").render(name="<Ada>")
        assert "<main>:/static/x.css &lt;Ada&gt;</main>" in page
        request = fastapi.Request({"type": "http"})
        for answer in (
            templates.TemplateResponse(request, "a.html", {"name": "Ada"}),
            templates.TemplateResponse("a.html", {"request": request, "name": "Ada"}),
        ):
            assert b"Ada</main>" in answer.body
    Templates()


ORIGINAL = """
from kodosumi.serve import ServeAPI
from ray import serve
app = ServeAPI()
@serve.deployment
@serve.ingress(app)
class Bound:
    pass
bound = Bound.bind()
"""
DESCRIBE = """
from koco.errors import DeployError
from koco.sdk.endpoint import serving
for name in ("app", "bound"):
    try:
        serving.describe(f"original_app:{name}", "svc")
    except DeployError as exc:
        print(exc.message, exc.hint)
"""


def test_an_app_of_the_original_package_is_refused(tmp_path: Path) -> None:
    """It would need Kodosumi's servers. The hint says how to use koco's."""
    package = tmp_path / "kodosumi"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "serve.py").write_text("import fastapi\nclass ServeAPI(fastapi.FastAPI):\n    pass")
    (tmp_path / "original_app.py").write_text(ORIGINAL)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", DESCRIBE]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert "the package `kodosumi` that is installed" in line
        assert "set `runtime: {kodosumi: true}`" in line


TWO = """
from ray import serve
from kodosumi.core import Launch, ServeAPI, forms as F

def make(path):
    app = ServeAPI()
    @app.enter(path, F.Model())
    async def enter(request):
        return Launch(request, "m:f", {"path": path})
    return app

@serve.deployment
@serve.ingress(make("/one"))
class One: ...

@serve.deployment
@serve.ingress(make("/two"))
class Two: ...

one, two = One.bind(), Two
"""


def test_a_module_may_have_several_apps(tmp_path: Path) -> None:
    """Each is described as the one that it was made from."""
    (tmp_path / "two_app.py").write_text(TWO)
    describe = (
        "from koco.sdk import import_alias; import_alias.install()\n"
        "from koco.sdk.endpoint import serving\n"
        "for name in ('one', 'two'):\n"
        "    print(serving.describe(f'two_app:{name}', 'svc').flows[0].path)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", describe]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["/one", "/two"], done.stderr


LATE = """
from ray import serve
from kodosumi.core import ServeAPI, Launch, forms as F

app = ServeAPI()

@app.enter("/", F.Model())
async def enter(request):
    return Launch(request, "m:f")

@app.get("/page", entry=True)
async def page(): ...

@app.lock("early")
async def early(data): ...

@serve.deployment
@serve.ingress(app)
class Ingress: ...

bound = Ingress.bind()
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", ""),
        ('@app.enter("/free", F.Model())\nasync def free(request): ...', "the flow '/free'"),
        ('@app.get("/more", entry=True)\nasync def more(): ...', "the flow '/more'"),
        ('@app.lock("late")\nasync def late(data): ...', "the lock 'late'"),
        ('@app.lease("late")\nasync def late(inputs): ...', "the lease 'late'"),
    ],
)
def test_parts_that_the_replica_does_not_have_are_refused(
    tmp_path: Path, more: str, said: str
) -> None:
    """Serve copies the app at `@serve.ingress`, so what comes later answers 404."""
    (tmp_path / "late_app.py").write_text(f"{LATE}\n{more}\n")
    describe = (
        "from koco.sdk import import_alias; import_alias.install()\n"
        "from koco.errors import DeployError\n"
        "from koco.sdk.endpoint import serving\n"
        "try: print(len(serving.describe('late_app:bound', 'svc').flows))\n"
        "except DeployError as exc: print(exc.message, exc.hint)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", describe]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if said:
        assert f"{said} of 'late_app:bound' is defined below" in done.stdout, done.stderr
    else:
        assert done.stdout.strip() == "2", done.stderr


def test_a_path_that_serve_cannot_route_is_refused() -> None:
    """Letters outside of ASCII; a parameter's value may have them."""
    with pytest.raises(DeployError, match=r"'/größe' of .* is not ASCII"):
        serving.describe(f"{__name__}:odd_path", "svc")


odd_path = ServeAPI()


@odd_path.enter("/größe", F.Model())
async def _odd(request: fastapi.Request) -> Launch:
    return Launch(request, run)
