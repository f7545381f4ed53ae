"""Services as the programming model has them, in the ways that authors write them."""

import sys
from pathlib import Path
from typing import Any

import fastapi
import pytest

import koco as core
from koco import InputsError, Launch, ServeAPI, Tracer, response, testing
from koco import forms as F  # noqa: N812 - as services import it
from koco.sdk.endpoint import serving

app = ServeAPI()

form = core.forms.Model(
    F.Markdown("# Rate"),
    F.Errors(),
    F.Break(),
    F.InputText(label="Topic", name="topic", placeholder="any"),
    F.InputNumber(label="Size", name="size", min_value=0, max_value=10, step=0.5),
    F.Checkbox(label="Sure", name="sure", value=True, option="yes, I am"),
    F.Select(
        label="Kind",
        name="kind",
        option=[F.InputOption(label="None", name=""), F.InputOption("good", "Good")],
        value="good",
    ),
    F.InputFiles(label="Files", name="files", multiple=True, directory=False, required=False),
    F.Action(text="Else", value="other", name="action"),
    F.HR(),
    F.Submit("Go"),
    F.Cancel("Leave"),
)


async def flow(inputs: dict[str, Any], tracer: core.Tracer) -> Any:
    await tracer.markdown("for", inputs["topic"])
    tracer.markdown_sync("in", "a thread")
    files = await tracer.fs()
    async for path in files.download("in/"):
        await tracer.result(path.rpartition("/")[2])
    await files.close()
    answer = await tracer.lock("rating", data={"of": inputs["topic"]}, timeout=60)
    return response.Markdown(f"{answer.get('rating', 'none')}")


def plain(inputs: dict[str, Any], tracer: Tracer) -> Any:
    files = tracer.fs_sync()
    with files.open("in/a.txt") as stream:
        found = stream.read_all()
    files.close()
    return {"size": len(found), "topic": inputs["topic"]}


@app.enter(path="/", model=form, summary="Rate", author="a@b.c", tags=["t"], deprecated=False)
async def enter(request: fastapi.Request, inputs: dict[str, Any]) -> Launch:
    error = core.InputsError()
    if not (inputs.get("topic") or "").strip():
        error.add(topic="Please give me a topic.")
    if inputs["kind"] == "":
        error.add(kind="Which?")
    if error.has_errors():
        raise error
    return core.Launch(request, f"{__name__}:flow", inputs=inputs)


for number in range(3):

    @app.enter(f"/{number}", form, summary=f"number {number}")
    async def numbered(request: fastapi.Request, inputs: dict[str, Any]) -> Any:
        return Launch(request, plain, inputs, reference=enter)


@app.lock(name="rating")
async def rating(request: fastapi.Request, inputs: dict[str, Any] | None = None) -> Any:
    return F.Model(F.Select("rating", option=["good", "bad"]), F.Submit("Send"))


def test_a_service_is_described() -> None:
    """Routes made in a loop are flows of their own, and each keeps its summary."""
    flows = serving.describe(f"{__name__}:app", "rate").flows
    assert [each.name for each in flows] == ["rate", "flow-0", "flow-1", "flow-2"]
    assert [each.summary for each in flows[1:]] == ["number 0", "number 1", "number 2"]


def test_a_service_runs() -> None:
    """What a handler orders runs as it was ordered, with files and an answer."""
    launch = testing.submit(app, {"topic": "sea", "size": "1.5"})
    outcome = testing.run(
        launch.entrypoint,
        launch.inputs,
        files={"in/a.txt": b"abc"},
        answers={"rating": {"rating": "good"}},
    )
    assert outcome.result == {"type": "markdown", "body": "good"}
    assert outcome.of_kind("result") == [
        {"type": "markdown", "body": "for sea"},
        {"type": "markdown", "body": "in a thread"},
        "a.txt",
    ]
    launch = testing.submit(app, {"topic": "sea"}, "/1")
    outcome = testing.run(launch.entrypoint, launch.inputs, files={"in/a.txt": b"abc"})
    assert outcome.result == {"size": 3, "topic": "sea"}


def test_a_service_refuses() -> None:
    """With what its handler has gathered, by field."""
    with pytest.raises(InputsError) as caught:
        testing.submit(app, {"topic": " ", "kind": ""})
    assert caught.value.errors == {"topic": ["Please give me a topic."], "kind": ["Which?"]}


BOUND = """
from koco import Launch, ServeAPI, forms as F
from ray import serve

app = ServeAPI()

@app.enter("/", F.Model(F.Submit("Go")), summary=__name__)
async def enter(request, inputs):
    return Launch(request, "json:dumps", inputs)

@serve.deployment
@serve.ingress(app)
class Service: pass

fast_app = Service.bind()
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Serve's own configuration
def test_a_bound_app_is_found_by_either_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`module:object` and `module.object`: the one of that module, among several."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("bound_one", "bound_two"):
        (tmp_path / f"{name}.py").write_text(BOUND)
        serving.describe(f"{name}:fast_app", name)
    for path in ("bound_one:fast_app", "bound_two.fast_app"):
        (flow,) = serving.describe(path, "mine").flows
        assert flow.summary == path[: len("bound_one")]
    for name in ("bound_one", "bound_two"):
        del sys.modules[name]
