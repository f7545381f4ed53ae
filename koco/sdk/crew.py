"""Crews: objects with `kickoff`, as CrewAI has them, run as entrypoints.

CrewAI is not needed, and never imported: a crew is known by what it has. What its
step callback is told becomes `action` events, its tasks' outputs `result` events,
the crew itself an `agent` event.
"""

import asyncio
import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from koco.events.model import Kind
from koco.sdk.tracer import Tracer

#: What an `agent` event says of each agent and each task.
_ABOUT_AGENT = ("role", "goal", "backstory")
_ABOUT_TASK = ("name", "description", "expected_output")


def adapted(found: Any) -> Any:
    """Return an entrypoint that runs a crew, where that is what was found; else what was found.

    A crew is an object with `kickoff` or `kickoff_async`; or a class of such; or a
    class, or an object that cannot be called, whose method `crew` returns one.
    Such a method is called here once, to see which of the two its crew has.
    """
    if inspect.isroutine(found):
        return found
    if _is_crew(found):
        make = found if inspect.isclass(found) else lambda: _copied(found)
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
    def run(inputs: dict[str, Any], tracer: Tracer) -> Any:
        crew = _traced(make(), tracer)
        return _outcome(crew.kickoff(inputs=_plain(inputs)))

    async def run_async(inputs: dict[str, Any], tracer: Tracer) -> Any:
        # Making one may read files, or import what is heavy.
        crew = await asyncio.to_thread(lambda: _traced(make(), tracer))
        return _outcome(await crew.kickoff_async(inputs=_plain(inputs)))

    return run_async if has_async else run


def _copied(crew: Any) -> Any:
    """Return a crew of an execution's own: several at once must not share callbacks."""
    if callable(own := getattr(crew, "copy", None)):
        return own()
    try:
        return copy.deepcopy(crew)
    except Exception:  # noqa: BLE001 - it holds a lock, say
        return _copied_by_hand(crew)


def _copied_by_hand(crew: Any) -> Any:
    """Copy a crew, its agents and its tasks: crews hand their callbacks on to these."""
    mine = copy.copy(crew)
    twins = {id(agent): copy.copy(agent) for agent in _listed(crew, "agents")}
    if twins:
        mine.agents = list(twins.values())
    if tasks := [copy.copy(task) for task in _listed(crew, "tasks")]:
        mine.tasks = tasks
    for task in tasks:
        if twin := twins.get(id(getattr(task, "agent", None))):
            task.agent = twin
    return mine


def _traced(crew: Any, tracer: Tracer) -> Any:
    """Have a crew's callbacks write events; those that it has are called as well."""
    if about := _about(crew):
        tracer.emit_sync(Kind.AGENT, about)
    for name, tell in (
        ("step_callback", tracer.action_sync),
        ("task_callback", tracer.result_sync),
    ):
        if hasattr(crew, name):
            setattr(crew, name, _both(tell, getattr(crew, name)))
    return crew


def _both(tell: Callable[..., None], former: Callable[..., Any] | None) -> Callable[..., Any]:
    def called(*values: Any) -> Any:
        tell(*values)
        # It may be a coroutine's: whoever calls back awaits it.
        return former(*values) if former is not None else None

    return called


def _about(crew: Any) -> dict[str, Any]:
    """Return who takes part, and what is to be done; empty where the crew does not say."""
    agents = [_described(each, _ABOUT_AGENT) for each in _listed(crew, "agents")]
    tasks = [
        {
            **_described(each, _ABOUT_TASK),
            "agent": getattr(getattr(each, "agent", None), "role", None),
        }
        for each in _listed(crew, "tasks")
    ]
    if not (agents or tasks):
        return {}
    name = getattr(crew, "name", None) or type(crew).__name__
    return {"name": name, "agents": agents, "tasks": tasks}


def _listed(crew: Any, name: str) -> list[Any]:
    found = getattr(crew, name, None)
    return list(found) if isinstance(found, list | tuple) else []


def _described(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names if getattr(thing, name, None) is not None}


def _plain(inputs: Mapping[str, Any]) -> Any:
    """Return inputs as JSON has them: a crew puts them into its prompts, and takes no dates."""
    import msgspec

    return msgspec.to_builtins(inputs)


def _outcome(output: Any) -> Any:
    """Return what a crew gave: all of it where it can be shown, else its text."""
    if callable(getattr(output, "model_dump", None)):
        return output
    return getattr(output, "raw", output)
