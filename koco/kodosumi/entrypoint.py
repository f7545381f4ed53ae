"""Call an entrypoint as Kodosumi does: `inputs` and `tracer` by name, crews with callbacks."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from koco.events.model import Kind
from koco.kodosumi.tracer import Tracer
from koco.sdk.entrypoints import crew, loader

#: An entrypoint with Kodosumi's two arguments, by position.
Call = Callable[[Any, Tracer], Any]

_ABOUT_AGENT = ("role", "goal", "backstory")
_ABOUT_TASK = ("name", "description", "expected_output")


def prepare(found: Any) -> tuple[Call, bool]:
    """Return a function of inputs and tracer that calls an entrypoint, and whether it is async.

    The entrypoint may be any callable, a crew, or a class that CrewAI has marked as one of a crew.
    Its other parameters keep their defaults.
    """
    if hasattr(found, "is_crew_class"):
        return _crew_call(lambda: found().crew()), True
    if hasattr(found, "kickoff"):
        make = found if inspect.isclass(found) else lambda: crew.copy_of(found)
        return _crew_call(make), True
    return _plain_call(found), loader.is_async(found)


def is_crew(found: Any) -> bool:
    """Return whether an entrypoint is a crew, or a class of CrewAI's that makes one."""
    return hasattr(found, "is_crew_class") or hasattr(found, "kickoff")


def _plain_call(function: Callable[..., Any]) -> Call:
    signature = inspect.signature(function)

    def call(inputs: Any, tracer: Tracer) -> Any:
        bound = signature.bind_partial()
        given = {"inputs": inputs, "tracer": tracer}
        names = [name for name in given if name in signature.parameters]
        bound.arguments.update({name: given[name] for name in names})
        return function(*bound.args, **bound.kwargs)

    return call


def _crew_call(make: Callable[[], Any]) -> Call:
    async def call(inputs: Any, tracer: Tracer) -> Any:
        # In a thread: making a crew may read files or import heavy modules.
        made = await asyncio.to_thread(make)
        crew.trace(made, tracer, always=True)
        await _summarize(made, tracer)
        data = inputs.model_dump() if hasattr(inputs, "model_dump") else inputs
        if hasattr(made, "kickoff_async"):
            return await made.kickoff_async(inputs=data)
        return await asyncio.to_thread(made.kickoff, inputs=data)

    return call


async def _summarize(made: Any, tracer: Tracer) -> None:
    """Write an `agent` event for each agent and each task of a crew."""
    for agent in getattr(made, "agents", None) or ():
        about = {**_read(agent, _ABOUT_AGENT), "tools": _tools(agent)}
        await tracer.emit(Kind.AGENT, {"agent": about})
    for task in getattr(made, "tasks", None) or ():
        agent = getattr(task, "agent", None)
        about = _read(task, _ABOUT_TASK) | {"agent": getattr(agent, "role", None)}
        await tracer.emit(Kind.AGENT, {"task": {**about, "tools": _tools(task)}})


def _read(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name, None) for name in names}


def _tools(thing: Any) -> list[dict[str, Any]]:
    tools = getattr(thing, "tools", None) or ()
    return [_read(tool, ("name", "description")) for tool in tools]
