"""examples/planner, in this process, against an API whose flows are played."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from koco import testing
from koco.manifest.load import load
from tests.support.api_server import Api, serving
from tests.support.checkout import ROOT
from tests.support.played_flows import Stage, play
from tests.support.releases import flow
from tests.support.whole_api import complete

FOLDER = ROOT / "examples" / "planner"
FORM: Any = load(FOLDER / "koco.yaml").flows[0].inputs
DOCUMENT = [
    {"type": "text", "name": "title", "required": True},
    {"type": "textarea", "name": "text", "required": True},
]
LOCKS = {
    "edit": [{"type": "textarea", "name": "text"}],
    "approval": [
        {"type": "select", "name": "verdict", "option": ["publish", "reject"], "required": True}
    ],
}
MANIFEST = {
    "service": "svc",
    "flows": [{"name": "review", "entrypoint": "m:f"}],
    "locks": LOCKS,
}
FLOWS = (
    flow("review", form=DOCUMENT, summary="Have a document edited, then approved"),
    flow("count", summary="Count the words of documents"),
    flow("broken", summary="Fails whatever happens"),
)


async def review(stage: Stage) -> Any:
    edited = await stage.ask("edit", stage.inputs)
    decided = await stage.ask("approval", edited)
    text = f"# {stage.inputs['title']}: {decided['verdict']}"
    return {"type": "markdown", "body": text}


async def broken(stage: Stage) -> Any:
    raise ValueError("no")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the secret."""
    monkeypatch.setenv("PLANNER_KEY", "ada")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.parts.url = api.url
        api.call(complete(api, given=MANIFEST, flows=FLOWS))
        play(api, {"review": review, "broken": broken})
        yield api


def plan(api: Api, protocol: str, goal: str) -> testing.Outcome:
    sys.path.insert(0, str(FOLDER))
    try:
        facts = {"title": "Hymn", "text": "To the night"}
        given = {"goal": goal, "facts": facts, "protocol": protocol, "url": api.url}
        return testing.run("planner:plan", given, form=FORM)
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("planner", None)


@pytest.mark.parametrize("protocol", ["a2a", "mcp"])
def test_it_finds_a_flow_calls_it_and_answers_what_it_asks(api: Api, protocol: str) -> None:
    """Each protocol leads to the same result."""
    outcome = plan(api, protocol, "Have a document edited, then approved")
    assert outcome.error is None
    assert outcome.result["flow"].endswith("review")
    assert outcome.result["result"] == "# Hymn: publish"
    assert len(outcome.of_kind("action")) == 3
    execution = api.call(api.parts.store.executions.get(outcome.result["task"]))
    assert (execution.status, execution.user) == ("finished", "ada")


@pytest.mark.parametrize("protocol", ["a2a", "mcp"])
def test_the_error_of_the_flow_is_its_own(api: Api, protocol: str) -> None:
    """It says which flow failed."""
    outcome = plan(api, protocol, "whatever fails")
    assert outcome.error is not None
    assert "broken failed: ValueError: no" in outcome.error["message"]
