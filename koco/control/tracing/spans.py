"""The spans of an execution that has ended, made from what the store has of it.

The whole execution is one span, from its launch to its end. Below it are, for each time that a
process took it, waiting in line, the start, and the run; below the runs are its steps, waits and
locks. An execution that it launched is below the step that did.
"""

import bisect
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from koco import trace_context
from koco.control.events.chunk_reader import Wanted
from koco.control.events.spooler import Spooler
from koco.events.model import Kind, Status
from koco.events.steps import StepKind, StepStatus
from koco.store.model import Execution, Lock, Step
from koco.store.store import Store
from koco.trace_context import LAUNCH, QUEUE, RUN, START, Trace

#: At most so many spans are made of the steps and of the files of one execution.
_MOST = 10_000
_PAGE = 500
#: The longest name of a span (characters).
_NAME = 200


class Span(NamedTuple):
    """One span: times in nanoseconds since the epoch, and the type of its error if it has one."""

    name: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str = ""
    message: str = ""
    #: Whether it answers somebody outside (SERVER). Others are INTERNAL.
    is_server: bool = False


class Happening(msgspec.Struct, frozen=True):
    """An event that begins or ends spans."""

    ts: str
    kind: str
    payload: Any = None


class Run(NamedTuple):
    """The time that an execution was in a process."""

    span_id: str
    start_ns: int


async def of(store: Store, spooler: Spooler, execution: Execution) -> list[Span]:
    """Return the spans of an execution that has ended."""
    happenings = [each async for each in _happenings(spooler, execution)]
    phases, runs = _phases(execution, happenings)
    spans = [_whole(execution), *phases, *_files(execution, happenings, runs)]
    every = await store.locks.all_of(execution.id)
    recorded = {each.key: each for each in every if each.key}
    cursor: str | None = None
    while len(spans) < _MOST:
        page = await store.steps.page_of(execution.id, limit=_PAGE, cursor=cursor)
        found = (_of_step(execution, each, runs, recorded.get(each.key)) for each in page.items)
        spans += [each for each in found if each is not None]
        if (cursor := page.next) is None:
            break
    locks = [each for each in every if not each.key]
    return spans + [_of_lock(execution, each, runs) for each in locks[:_MOST]]


async def _happenings(spooler: Spooler, execution: Execution) -> AsyncIterator[Happening]:
    wanted, rest = Wanted(frozenset({Kind.STATUS, Kind.UPLOAD}), tells_end=True), b""
    async for piece in spooler.follow(execution, wanted, since=0, heartbeat_s=60):
        *lines, rest = (rest + piece).split(b"\n")
        for line in filter(None, lines):
            yield msgspec.json.decode(line, type=Happening)


def _whole(execution: Execution) -> Span:
    error = execution.error
    kind = error.type if error else ""
    if not kind and execution.status is not Status.FINISHED:
        kind = str(execution.status)
    return Span(
        f"launch {execution.flow}",
        trace_context.span_id(execution.fid, LAUNCH),
        Trace(execution.traceparent).span_id if execution.traceparent else None,
        _ns(execution.created),
        _ns(execution.finished or execution.created),
        {**_about(execution), "koco.status": str(execution.status)},
        error=kind,
        message=error.message if error else "",
        is_server=True,
    )


def _about(execution: Execution) -> dict[str, Any]:
    about: dict[str, Any] = {"koco.fid": execution.fid, "koco.flow": execution.flow}
    about |= {"koco.service": execution.service, "koco.release": execution.release}
    if execution.user:
        about["enduser.id"] = execution.user
    others = {
        "koco.parent": execution.parent,
        "koco.retry_of": execution.retry_of,
        "koco.resume_of": execution.resume_of,
    }
    return about | {name: fid for name, fid in others.items() if fid is not None}


def _phases(execution: Execution, happenings: Iterable[Happening]) -> tuple[list[Span], list[Run]]:
    """Return the spans of an execution's attempts, and its runs in their order."""
    attempt, phase, since = 1, "", 0
    spans: list[Span] = []
    runs: list[Run] = []
    for each in happenings:
        if each.kind != Kind.STATUS:
            continue
        status, now = Status(each.payload["status"]), _ns(each.ts)
        following = _phase_of(status, is_parked=bool(each.payload.get("parked")))
        if following == phase:
            continue
        if phase:
            error = _error_of_run(execution, status, has_failed="attempt" in each.payload)
            spans.append(_phase(execution, phase, attempt, since, now, error))
        if not status.is_final and _leaves_process(phase, each.payload):
            attempt += 1
        if following == RUN:
            runs.append(Run(trace_context.span_id(execution.fid, RUN, attempt), now))
        phase, since = following, now
    return spans, runs


def _leaves_process(phase: str, payload: dict[str, Any]) -> bool:
    """Return whether another process goes on with it: see `Execution.attempt`."""
    return phase == RUN or (phase == START and bool(payload.keys() & {"attempt", "resumed"}))


def _error_of_run(execution: Execution, status: Status, *, has_failed: bool) -> str:
    if status is Status.ERROR and execution.error is not None:
        return execution.error.type or "_OTHER"
    # Of an attempt that another one followed, only the stream has the error.
    return "_OTHER" if has_failed else ""


def _phase_of(status: Status, *, is_parked: bool) -> str:
    if status.is_final or is_parked:
        return ""
    return {Status.QUEUED: QUEUE, Status.STARTING: START}.get(status, RUN)


def _phase(
    execution: Execution, phase: str, attempt: int, start_ns: int, end_ns: int, error: str
) -> Span:
    about: dict[str, Any] = {"koco.fid": execution.fid, "koco.attempt": attempt}
    name = phase
    if phase == RUN:
        name = f"invoke_workflow {execution.flow}"
        about |= {"gen_ai.operation.name": "invoke_workflow"}
        about |= {"gen_ai.workflow.name": execution.flow, "koco.release": execution.release}
    span_id = trace_context.span_id(execution.fid, phase, attempt)
    whole = trace_context.span_id(execution.fid, LAUNCH)
    return Span(name, span_id, whole, start_ns, end_ns, about, error if phase == RUN else "")


def _of_step(execution: Execution, step: Step, runs: list[Run], lock: Lock | None) -> Span | None:
    """Return the span of a step or wait; None if it is another execution's, or has no end.

    `lock` is the one that the step is, if it is a lock.
    """
    start_ns = int(step.started * 1e9)
    if step.duration_s is None or start_ns < _ns(execution.created):
        return None
    about: dict[str, Any] = {"koco.fid": execution.fid, "koco.step": step.key}
    about |= {"koco.step.kind": str(step.kind), "koco.step.failures": step.failures}
    if step.child is not None:
        about["koco.child"] = step.child
    if lock is not None:
        about |= _about_lock(lock)
    name = step.name if step.kind is StepKind.LOCK else f"{step.kind} {step.name}"
    is_good = step.status is StepStatus.FINISHED
    return Span(
        name.replace("lock.", "lock ", 1)[:_NAME],
        trace_context.span_id(execution.fid, step.key),
        _run_at(execution, runs, start_ns),
        start_ns,
        start_ns + int(step.duration_s * 1e9),
        about,
        error="" if is_good else str(step.status),
    )


def _of_lock(execution: Execution, lock: Lock, runs: list[Run]) -> Span:
    """Return the span of a lock that is no step: it has no place in its flow's code."""
    start_ns = _ns(lock.created)
    about: dict[str, Any] = {"koco.fid": execution.fid, **_about_lock(lock)}
    return Span(
        f"lock {lock.name}"[:_NAME],
        trace_context.span_id(execution.fid, f"lock {lock.lid}"),
        _run_at(execution, runs, start_ns),
        start_ns,
        _ns(lock.settled or execution.finished or lock.created),
        about,
        error="" if lock.status == "answered" else lock.status,
    )


def _about_lock(lock: Lock) -> dict[str, Any]:
    about = {"koco.lock": lock.lid}
    return about | {"koco.lock.by": lock.by} if lock.by else about


def _files(
    execution: Execution, happenings: Iterable[Happening], runs: list[Run]
) -> Iterable[Span]:
    """Yield a span without a duration for each file that it wrote."""
    uploads = [each for each in happenings if each.kind == Kind.UPLOAD]
    for number, each in enumerate(uploads[:_MOST]):
        path, now = str(each.payload.get("path", "")), _ns(each.ts)
        about = {"koco.fid": execution.fid, "koco.file.path": path}
        if (size := each.payload.get("size_bytes")) is not None:
            about["koco.file.size"] = size
        span_id = trace_context.span_id(execution.fid, f"file {path} {number}")
        name = f"file {path}"[:_NAME]
        yield Span(name, span_id, _run_at(execution, runs, now), now, now, about)


def _run_at(execution: Execution, runs: list[Run], ns: int) -> str:
    """Return the id of the run during which something began; the whole's if it was before all."""
    at = bisect.bisect_right(runs, ns, key=lambda each: each.start_ns)
    return runs[at - 1].span_id if at else trace_context.span_id(execution.fid, LAUNCH)


def _ns(time: str) -> int:
    moment = datetime.fromisoformat(time)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
