"""Entrypoints get `inputs` and `tracer` by name; crews get callbacks and describe themselves."""

import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from koco import testing
from koco.kodosumi.core import Tracer, response


class Question(BaseModel):
    topic: str


class Crew:
    """A crew as CrewAI has them, as far as an entrypoint uses it."""

    def __init__(self) -> None:
        tool = SimpleNamespace(name="search", description="finds", cost=3)
        agent = SimpleNamespace(role="poet", goal="rhyme", backstory="none", tools=[tool])
        task = SimpleNamespace(name="t", description="d", expected_output="o", agent=agent)
        self.agents, self.tasks = [agent], [task]
        self.step_callback: Any = None
        self.task_callback: Any = None

    async def kickoff_async(self, inputs: Any) -> Any:
        self.step_callback("thinking")
        self.task_callback(Question(topic="done"))
        return SimpleNamespace(raw=inputs)

    def kickoff(self, inputs: Any) -> Any:
        raise AssertionError("a crew runs on the loop")


class CrewClass:
    is_crew_class = True

    def crew(self) -> Crew:
        return Crew()


async def both(inputs: dict[str, Any], tracer: Tracer) -> Any:
    await tracer.markdown("# A", "b")
    return inputs["n"].strip()


def plain(tracer: Tracer, inputs: Any = None, more: int = 3) -> Any:
    tracer.result_sync("a", "b")
    return {"inputs": inputs, "more": more}


def neither() -> str:
    return "x"


def reordered(first: int = 1, /, *rest: int, inputs: Any, **others: Any) -> Any:
    return [first, rest, inputs, others]


class Bare:
    """A crew with nothing but a kickoff, which calls what it was given."""

    def kickoff(self, inputs: Any) -> Any:
        self.step_callback("step")  # type: ignore[attr-defined]
        return inputs


@dataclass
class Verse:
    text: str


def run(flow: Any, inputs: Any = None) -> testing.Outcome:
    return testing.run(flow, inputs, kodosumi=True)


def test_inputs_arrive_as_they_were_made() -> None:
    """No form converts them: a number that was sent as text stays text."""
    outcome = run(both, {"n": " 3 ", "unknown": 1})
    assert outcome.result == "3"
    assert outcome.of_kind("result") == [{"type": "markdown", "body": "# A\n\nb"}]


def test_a_function_runs_in_a_thread_with_its_defaults() -> None:
    """Other parameters keep them, in any order."""
    outcome = run(plain, {"more": 9})
    assert outcome.result == {"inputs": {"more": 9}, "more": 3}
    assert outcome.of_kind("result") == ["a", "b"]
    assert run(neither).result == "x"
    assert run(reordered, {"a": 1}).result == [1, [], {"a": 1}, {}]
    assert run(functools.partial(plain, more=5)).result["more"] == 5


def test_results_keep_the_names_of_their_classes() -> None:
    """As events do."""
    assert run(lambda: Verse("x")).result == {"$type": "Verse", "text": "x"}
    assert run(lambda: response.Text(["a", "b"])).result == {"type": "text", "body": "a\nb"}
    assert run(lambda: None).result is None


@pytest.mark.parametrize("crew", [Crew(), CrewClass])
def test_a_crew_describes_itself_and_reports(crew: Any) -> None:
    """An `agent` event for each agent and task, steps as actions, and outputs as results."""
    outcome = run(crew, {"topic": "night"})
    tools = [{"name": "search", "description": "finds"}]
    about = {"role": "poet", "goal": "rhyme", "backstory": "none", "tools": tools}
    task = {"name": "t", "description": "d", "expected_output": "o", "agent": "poet", "tools": []}
    assert outcome.of_kind("agent") == [{"agent": about}, {"task": task}]
    assert outcome.of_kind("action") == ["thinking"]
    assert outcome.of_kind("result") == [{"$type": "Question", "topic": "done"}]
    assert outcome.result["raw"] == {"topic": "night"}


@pytest.mark.parametrize("crew", [Bare(), Bare])
def test_any_object_with_a_kickoff_is_a_crew(crew: Any) -> None:
    """It gets the callbacks, and may be a class."""
    outcome = run(crew, {"a": "1"})
    assert outcome.of_kind("action") == ["step"]
    assert (outcome.result, outcome.of_kind("agent")) == ({"a": "1"}, [])


def test_an_error_is_the_executions() -> None:
    """With the author's own type and message."""

    def fail() -> None:
        raise KeyError("lost")

    outcome = run(fail)
    assert outcome.status == "error"
    assert outcome.error is not None and outcome.error["type"] == "KeyError"
