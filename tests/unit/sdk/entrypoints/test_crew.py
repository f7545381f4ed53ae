"""Crews as entrypoints: stand-ins with the attributes of CrewAI's, without CrewAI."""

import asyncio
import dataclasses
import datetime
import functools
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from koco import testing
from koco.sdk.entrypoints.crew import adapt
from koco.sdk.entrypoints.loader import form_of, is_async, load


@dataclasses.dataclass
class Agent:
    role: str
    goal: str
    step_callback: Any = None


@dataclasses.dataclass
class Task:
    description: str
    agent: Agent


class Output:
    """Like CrewAI's: a text, and everything through `model_dump`."""

    def __init__(self, raw: str) -> None:
        self.raw = raw

    def model_dump(self, mode: str = "python") -> dict[str, Any]:
        return {"raw": self.raw, "mode": mode}


@dataclasses.dataclass
class Crew:
    """Passes its step callback to its agents as it starts, as CrewAI's does."""

    agents: list[Agent]
    tasks: list[Task]
    step_callback: Any = None
    task_callback: Any = None

    def kickoff(self, inputs: dict[str, Any] | None = None) -> Any:
        for agent in self.agents:
            agent.step_callback = agent.step_callback or self.step_callback
        for task in self.tasks:
            for step in range(2):
                if task.agent.step_callback:
                    task.agent.step_callback({"step": step, **(inputs or {})})
                time.sleep(0.001)
            if self.task_callback:
                self.task_callback(Output(f"{task.description} {inputs}"))
        print("kicked off", inputs)
        return Output("done")


class AsyncCrew(Crew):
    async def kickoff_async(self, inputs: dict[str, Any] | None = None) -> Any:
        return await asyncio.to_thread(self.kickoff, inputs)


def made(kind: type[Crew] = Crew, **more: Any) -> Crew:
    agent = Agent("writer", "to write")
    return kind([agent], [Task("write", agent), Task("read", agent)], **more)


class Ready(Crew):
    """A class whose instances are crews."""

    def __init__(self) -> None:
        agent = Agent("writer", "to write")
        super().__init__([agent], [Task("write", agent)])


class Decorated:
    """A class whose instances make a crew, like those with CrewAI's `@CrewBase`."""

    def crew(self) -> Crew:
        return made(AsyncCrew)


sync_crew, async_crew = made(), made(AsyncCrew)
decorated = Decorated()


@pytest.mark.parametrize(
    ("name", "awaited"),
    [
        ("sync_crew", False),
        ("async_crew", True),
        ("Ready", False),
        ("Decorated", True),
        ("decorated", True),
    ],
)
def test_a_crew_is_an_entrypoint(name: str, awaited: bool) -> None:
    """An object, a class, a class that makes one: sync unless there is `kickoff_async`."""
    entrypoint = load(f"{__name__}:{name}")
    assert is_async(entrypoint) is awaited
    assert form_of(entrypoint) is None, "any JSON object is taken"
    outcome = testing.run(f"{__name__}:{name}", {"topic": "sea"})
    assert outcome.status == "finished", outcome.error
    assert outcome.result == {"raw": "done", "mode": "json"}
    assert {"step": 0, "topic": "sea"} in outcome.of_kind("action")
    assert outcome.of_kind("result")[0] == {"raw": "write {'topic': 'sea'}", "mode": "json"}
    assert outcome.of_kind("stdout") == ["kicked off {'topic': 'sea'}"]


def test_the_first_event_describes_the_crew() -> None:
    """One `agent` event: the crew, its agents and its tasks."""
    outcome = testing.run(sync_crew, {})
    assert outcome.events[0].kind == "agent"
    assert outcome.events[0].payload == {
        "name": "Crew",
        "agents": [{"role": "writer", "goal": "to write"}],
        "tasks": [{"description": task, "agent": "writer"} for task in ("write", "read")],
    }


def test_the_crews_own_callbacks_are_still_called() -> None:
    """Besides koco's, and their results are returned; the crew keeps its own."""
    steps: list[Any] = []
    tasks: list[Any] = []
    crew = made(step_callback=steps.append, task_callback=tasks.append)
    outcome = testing.run(crew, {"n": 1})
    assert steps == outcome.of_kind("action")
    assert len(tasks) == len(outcome.of_kind("result")) == 2
    assert crew.step_callback == steps.append, "left as it was"


@pytest.mark.parametrize("crew", [async_crew, made(AsyncCrew, step_callback=lambda step: None)])
def test_concurrent_runs_of_a_crew_are_separate(crew: Crew) -> None:
    """Each execution has a copy of the crew, and its events are its own."""
    entrypoint = adapt(crew)
    tracers = [testing.Tracer() for _ in range(20)]

    async def all_at_once() -> None:
        await asyncio.gather(
            *(entrypoint(inputs={"me": me}, tracer=each) for me, each in enumerate(tracers))
        )

    asyncio.run(all_at_once())
    for me, tracer in enumerate(tracers):
        steps = [event.payload for event in tracer.events if event.kind == "action"]
        assert steps == [{"step": step, "me": me} for step in (0, 1, 0, 1)]


def test_a_crew_is_copied_by_its_own_method_if_it_has_one() -> None:
    """If a deep copy fails, the crew, its agents and its tasks are copied."""

    class Copying(Crew):
        copies = 0

        def copy(self) -> "Copying":
            Copying.copies += 1
            return Copying(list(self.agents), self.tasks)

    agent = Agent("writer", "to write")
    testing.run(Copying([agent], []), {})
    assert Copying.copies == 1
    locked = made()
    locked.lock = threading.Lock()  # type: ignore[attr-defined]
    for me in range(2):
        steps = testing.run(locked, {"me": me}).of_kind("action")
        assert steps == [{"step": step, "me": me} for step in (0, 1, 0, 1)]
    assert locked.step_callback is None


def test_inputs_are_plain_and_output_may_be_text() -> None:
    """A crew puts inputs into prompts, so dates become text. `.raw` is shown if it is all."""

    class Bare:
        def kickoff(self, inputs: dict[str, Any]) -> Any:
            return type("Said", (), {"raw": repr(inputs)})()

    day = datetime.date(2026, 1, 31)
    form = [{"type": "date", "name": "day"}]
    outcome = testing.run(Bare(), {"day": str(day)}, form=form)
    assert outcome.result == "{'day': '2026-01-31'}"
    assert outcome.of_kind("agent") == []


def test_a_crews_exception_is_the_flows() -> None:
    """With the crew's frames."""

    class Failing:
        async def kickoff_async(self, inputs: dict[str, Any]) -> Any:
            raise LookupError("no model")

    outcome = testing.run(Failing(), {})
    assert outcome.status == "error"
    assert outcome.error
    assert outcome.error["type"] == "LookupError"
    assert "koco/sdk" not in outcome.error["traceback"]


class Called:
    def crew(self) -> str:
        return "of a ship"

    def __call__(self) -> str:
        return "called"


def test_objects_that_only_look_like_a_crew_are_not_one() -> None:
    """A callable object with a `crew`, a class whose `crew` is something else, a function."""
    assert testing.run(Called(), {}).result == "called"
    assert adapt(Called) is Called
    assert adapt(made) is made
    partial = functools.partial(made, Crew)
    assert adapt(partial) is partial


@pytest.fixture(autouse=True)
def _without_crewai() -> Iterator[None]:
    yield
    assert "crewai" not in sys.modules
