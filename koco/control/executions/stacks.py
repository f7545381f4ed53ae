"""The current stacks of an execution: those of its runner's process and of its Ray tasks.

The runner is asked first, because it knows which thread or task belongs to the execution. If it
does not answer, its process gets a signal and writes its stacks while it goes on
(`koco.sdk.process.stacks`).
"""

import asyncio
import logging
from typing import Annotated

import msgspec
from msgspec import Meta

from koco.cluster import node_processes, runner_processes
from koco.cluster.runner_processes import Place
from koco.cluster.runners import RunnerActor
from koco.control.executions.supervisor import Supervisor
from koco.errors import ConflictError, KocoError, UnreachableError
from koco.events.model import Status
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


class StackedProcess(msgspec.Struct, frozen=True):
    """A process of an execution: its runner's, or a Ray task's."""

    name: Annotated[str, Meta(examples=["runner"])]
    pid: int
    node: str
    state: Annotated[str, Meta(description="running, sleeping, stopped, gone, …")]
    note: Annotated[
        str | None, Meta(description="why there are no more stacks, or how they were read")
    ]
    stacks: list[Stack]


class Stacks(msgspec.Struct, frozen=True):
    """The current stacks of an execution, in all its processes."""

    fid: str
    status: Status
    note: Annotated[str | None, Meta(description="why it has no process, if it has none")]
    processes: list[StackedProcess]


async def of(execution: Execution, supervisor: Supervisor, *, everything: bool = False) -> Stacks:
    """Return the stacks of an execution.

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
    actor = supervisor.runner_of(execution.fid)
    if actor is None:
        why = supervisor.why(execution)
        note = f"it has no process{f': {why}' if why else ''}"
        return Stacks(execution.fid, execution.status, note, [])
    place = await runner_processes.place_of(actor.handle)
    unlisted, tasks = None, list[tuple[str, Place]]()
    try:
        tasks = await runner_processes.tasks_of(actor.handle, most=_TASKS)
    except UnreachableError as exc:
        unlisted = exc.message
    looks = [_runner(actor, place, execution.fid, everything=everything)]
    looks += [_outside(name, each, everything=everything, is_silent=False) for name, each in tasks]
    return Stacks(execution.fid, execution.status, unlisted, await asyncio.gather(*looks))


async def _runner(
    actor: RunnerActor, place: Place, fid: str, *, everything: bool
) -> StackedProcess:
    try:
        answer = actor.stack(fid, everything=everything)
        answered = await asyncio.wait_for(answer, _ANSWER_S)
    except (KocoError, TimeoutError, AttributeError) as exc:
        log.info("the runner of an execution did not return its stack: %r", exc, extra={"fid": fid})
        return await _outside("runner", place, everything=everything)
    state, _ = await _look(place, with_stacks=False)
    return _process("runner", place, state, answered)


async def _outside(
    name: str, place: Place, *, everything: bool, is_silent: bool = True
) -> StackedProcess:
    """Inspect a process from outside, because it does not answer or cannot be asked."""
    state, found = await _look(place, with_stacks=True)
    if state in ("stopped", "gone"):
        what = "by a signal: it does not run until `kill -CONT`" if state == "stopped" else ""
        return _process(name, place, state, [], note=f"it is {state} {what}".strip())
    if found is None:
        return _process(name, place, state, [], note="it cannot return its stacks")
    chosen = [each for each in found if everything or stacks.is_of_an_author(each)]
    note = "it does not answer: its code holds the interpreter" if is_silent else None
    return _process(name, place, state, [stacks.for_display(each) for each in chosen], note=note)


def _process(
    name: str, place: Place, state: str, found: list[Stack], note: str | None = None
) -> StackedProcess:
    return StackedProcess(name, place.pid, place.node, state, note, found)


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
