"""The current stacks of an execution: those of its runner's process and of its Ray tasks.

The runner is asked first, because it knows which thread or task belongs to the execution. If it
does not answer, its process gets a signal and writes its stacks while it goes on
(`koco.sdk.process.stacks`).
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from koco.cluster import node_processes, runner_processes
from koco.cluster.runner_processes import Place
from koco.control.executions.supervisor import Supervisor
from koco.control.runners.worker import Actor
from koco.errors import ConflictError, KocoError, UnreachableError
from koco.runner.process import identity
from koco.runner.process.identity import Process
from koco.sdk.process import stacks
from koco.sdk.process.stacks import Stack
from koco.store.model import Execution

log = logging.getLogger(__name__)

#: How long a runner may take to answer (seconds).
_ANSWER_S = 1.5
#: The most Ray tasks that are inspected.
_TASKS = 50

_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting in the kernel",
    "T": "stopped",
    "t": "stopped",
    "Z": "gone",
    "X": "gone",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A process with its state and its stacks."""

    name: str
    place: Place
    state: str
    stacks: list[Stack]
    note: str | None = None

    def told(self) -> dict[str, Any]:
        """Return it in the form that the API returns."""
        return {
            "name": self.name,
            "pid": self.place.pid,
            "node": self.place.node,
            "state": self.state,
            "note": self.note,
            "stacks": [msgspec.to_builtins(each) for each in self.stacks],
        }


async def of(
    execution: Execution, supervisor: Supervisor, *, everything: bool = False
) -> dict[str, Any]:
    """Return the stacks of an execution as `{fid, status, note, processes}`.

    With `everything`, all stacks of each process are included, not only those of the execution and
    those with code that is not koco's, Python's or Ray's.

    Raises:
        ConflictError: the execution has ended.
    """
    if execution.status.is_final:
        raise ConflictError(
            f"execution {execution.fid} has ended: {execution.status}",
            hint="`koco logs` shows what it did, with the traceback of an error",
        )
    found: dict[str, Any] = {"fid": execution.fid, "status": execution.status.value}
    actor = supervisor.runner_of(execution.fid)
    if actor is None:
        why = supervisor.why(execution)
        return {**found, "note": f"it has no process{f': {why}' if why else ''}", "processes": []}
    place = await runner_processes.place_of(actor.handle)
    note, tasks = None, list[tuple[str, Place]]()
    try:
        tasks = await runner_processes.tasks_of(actor.handle, most=_TASKS)
    except UnreachableError as exc:
        note = exc.message
    looks = [_runner(actor, place, execution.fid, everything=everything)]
    looks += [_task(name, each, everything=everything) for name, each in tasks]
    seen = await asyncio.gather(*looks)
    return {**found, "note": note, "processes": [each.told() for each in seen if each]}


async def _runner(actor: Actor, place: Place, fid: str, *, everything: bool) -> Seen:
    try:
        answer = actor.stack(fid, everything=everything)
        answered = await asyncio.wait_for(answer, _ANSWER_S)
    except (KocoError, TimeoutError, AttributeError) as exc:
        log.info("the runner of an execution did not tell its stack: %r", exc, extra={"fid": fid})
        return await _outside("runner", place, everything=everything)
    state, _ = await _look(place, with_stacks=False)
    return Seen("runner", place, state, answered)


async def _task(name: str, place: Place, *, everything: bool) -> Seen:
    return await _outside(name, place, everything=everything, is_silent=False)


async def _outside(name: str, place: Place, *, everything: bool, is_silent: bool = True) -> Seen:
    """Inspect a process from outside, because it does not answer or cannot be asked."""
    state, found = await _look(place, with_stacks=True)
    if state in ("stopped", "gone"):
        what = "by a signal: nothing of it runs until `kill -CONT`" if state == "stopped" else ""
        return Seen(name, place, state, [], note=f"it is {state} {what}".strip())
    if found is None:
        return Seen(name, place, state, [], note="it does not tell its stacks")
    chosen = [each for each in found if everything or stacks.is_of_an_author(each)]
    note = "it does not answer: its code keeps the interpreter to itself" if is_silent else None
    return Seen(name, place, state, [stacks.for_display(each) for each in chosen], note=note)


async def _look(place: Place, *, with_stacks: bool) -> tuple[str, list[Stack] | None]:
    try:
        letter, found = await node_processes.on_node(
            place.node, look, place.pid, with_stacks, timeout_s=10.0
        )
    except KocoError as exc:
        return exc.message, None
    return _STATES.get(letter, letter), found


def look(pid: int, with_stacks: bool) -> tuple[str, list[Stack] | None]:
    """Return the state of a process of this node and, if `with_stacks`, its stacks."""
    known: Process = identity.identify(pid)
    seen = node_processes.look(known)
    if seen is None or seen.is_gone:
        return "X", None
    if seen.is_stopped or not with_stacks:
        return seen.state, None
    return seen.state, stacks.dump(pid)
