"""Run crews as entrypoints: objects with `kickoff`, as CrewAI has them.

CrewAI is never imported and need not be installed: a crew is recognised by its attributes. Calls of
its step callback become `action` events, outputs of its tasks `result` events, and the crew
itself an `agent` event.
"""

import asyncio
import copy
import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from koco.events.model import Kind
from koco.sdk.tracer import Tracer

#: The attributes of each agent and task that an `agent` event contains.
_ABOUT_AGENT = ("role", "goal", "backstory")
_ABOUT_TASK = ("name", "description", "expected_output")


def adapt(found: Any) -> Any:
    """Return an entrypoint that runs a crew, if the object is a crew; otherwise the object itself.

    A crew is an object with `kickoff` or `kickoff_async`, or a class of such objects. A class, or
    an object that cannot be called, also counts if its method `crew` returns a crew. Such a method
    is called here once, to see which of the two its crew has.
    """
    if inspect.isroutine(found):
        return found
    if _is_crew(found):
        make = found if inspect.isclass(found) else lambda: copy_of(found)
        return _entrypoint(make, has_async=hasattr(found, "kickoff_async"))
    makes_crew = callable(getattr(found, "crew", None))
    if not makes_crew or (callable(found) and not inspect.isclass(found)):
        return found

    instance: Callable[[], Any] = found if inspect.isclass(found) else lambda: found

    def make_crew() -> Any:
        return instance().crew()

    sample = make_crew()
    if not _is_crew(sample):
        return found
    return _entrypoint(make_crew, has_async=hasattr(sample, "kickoff_async"))


def _is_crew(found: Any) -> bool:
    return any(callable(getattr(found, name, None)) for name in ("kickoff", "kickoff_async"))


def _entrypoint(make: Callable[[], Any], *, has_async: bool) -> Callable[..., Any]:
    # Inputs become plain JSON data: a crew puts them into prompts and cannot handle dates.
    def run(inputs: dict[str, Any], tracer: Tracer) -> Any:
        crew = _describe_and_trace(make(), tracer)
        return _result_of(crew.kickoff(inputs=msgspec.to_builtins(inputs)))

    async def run_async(inputs: dict[str, Any], tracer: Tracer) -> Any:
        # In a thread: making a crew may read files or import heavy modules.
        crew = await asyncio.to_thread(lambda: _describe_and_trace(make(), tracer))
        return _result_of(await crew.kickoff_async(inputs=msgspec.to_builtins(inputs)))

    return run_async if has_async else run


def copy_of(crew: Any) -> Any:
    """Return a copy of a crew for one execution: concurrent ones must not share callbacks."""
    if callable(own := getattr(crew, "copy", None)):
        return own()
    try:
        return copy.deepcopy(crew)
    except Exception:  # noqa: BLE001 - for example because it holds a lock
        return _copy_by_hand(crew)


def _copy_by_hand(crew: Any) -> Any:
    """Copy a crew, its agents and its tasks, because crews pass their callbacks on to these."""
    mine = copy.copy(crew)
    twins = {id(agent): copy.copy(agent) for agent in _list_of(crew, "agents")}
    if twins:
        mine.agents = list(twins.values())
    if tasks := [copy.copy(task) for task in _list_of(crew, "tasks")]:
        mine.tasks = tasks
    for task in tasks:
        if twin := twins.get(id(getattr(task, "agent", None))):
            task.agent = twin
    return mine


def _describe_and_trace(crew: Any, tracer: Tracer) -> Any:
    if about := _describe_crew(crew):
        tracer.emit_sync(Kind.AGENT, about)
    trace(crew, tracer)
    return crew


def trace(crew: Any, tracer: Tracer, *, always: bool = False) -> None:
    """Make a crew's callbacks write events; its own callbacks are still called.

    A crew without such an attribute gets it only if asked `always`.
    """
    for name, emit in (
        ("step_callback", tracer.action_sync),
        ("task_callback", tracer.result_sync),
    ):
        if always or hasattr(crew, name):
            setattr(crew, name, _call_both(emit, getattr(crew, name, None)))


def _call_both(emit: Callable[..., None], former: Callable[..., Any] | None) -> Callable[..., Any]:
    def called(*values: Any) -> Any:
        emit(*values)
        # The result may be a coroutine, which the caller awaits.
        return former(*values) if former is not None else None

    return called


def _describe_crew(crew: Any) -> dict[str, Any]:
    """Describe the agents and tasks of a crew; empty if it has neither."""
    agents = [_pick(each, _ABOUT_AGENT) for each in _list_of(crew, "agents")]
    tasks = []
    for each in _list_of(crew, "tasks"):
        role = getattr(getattr(each, "agent", None), "role", None)
        tasks.append({**_pick(each, _ABOUT_TASK), "agent": role})
    if not (agents or tasks):
        return {}
    name = getattr(crew, "name", None) or type(crew).__name__
    return {"name": name, "agents": agents, "tasks": tasks}


def _list_of(crew: Any, name: str) -> list[Any]:
    found = getattr(crew, name, None)
    return list(found) if isinstance(found, list | tuple) else []


def _pick(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names if getattr(thing, name, None) is not None}


def _result_of(output: Any) -> Any:
    """Return a crew's output: the whole object if it can be shown, otherwise its text."""
    if callable(getattr(output, "model_dump", None)):
        return output
    return getattr(output, "raw", output)
