"""Answers questions of runners, Ray tasks and endpoints (`koco.events.questions`).

A handler takes the parts, the fid of the execution that asks (or the execution itself), and the
question. A question may arrive twice, because the asker repeats it if this process dies before it
answers. Handlers must be able to run twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from koco.control.container import Parts
from koco.control.events import record_bounds
from koco.control.runners import crash_reports
from koco.control.storage.blob_stores.protocol import BlobsAwayError
from koco.control.tasks import RETRY_S
from koco.errors import ConflictError, KocoError, NotFoundError, UsageError
from koco.events import wire
from koco.events.questions import (
    AccessFiles,
    CallFlow,
    Crash,
    EndpointKey,
    EndWork,
    FileAccess,
    FindCrash,
    LockOutcome,
    OpenLock,
    Park,
    Question,
    ReadHistory,
    ReadStep,
    Receive,
    Sleep,
    WaitForLock,
    WaitOutcome,
    WithdrawLock,
    WithdrawWait,
)
from koco.store.model import Execution

log = logging.getLogger(__name__)

Handler = Callable[[Parts, str, Any], Awaitable[Any]]
OwnHandler = Callable[[Parts, Execution, Any], Awaitable[Any]]


async def _find_crash(_: Parts, __: str, question: FindCrash) -> Crash | None:
    return await crash_reports.find(question)


async def _endpoint_key(parts: Parts, _: str, question: EndpointKey) -> str:
    return parts.endpoints.key(question.service, question.release).hex()


async def _access_files(parts: Parts, fid: str, _: AccessFiles) -> FileAccess:
    execution = await parts.store.executions.get(fid)
    return FileAccess(url=parts.node_url, token=parts.files.token(fid, execution.attempt))


async def _open_lock(parts: Parts, fid: str, question: OpenLock) -> None:
    if question.key:
        record_bounds.require_place(question)
    await parts.locks.open(
        fid,
        question.lid,
        name=question.name,
        data=question.data,
        timeout_s=question.timeout_s,
        key=question.key,
        position=question.position,
        arguments=question.arguments,
    )


async def _wait_for_lock(parts: Parts, fid: str, question: WaitForLock) -> LockOutcome:
    lock = await parts.locks.wait(fid, question.lid)
    return LockOutcome(status=lock.status, answer=lock.answer, moments=lock.moments)


async def _withdraw_lock(parts: Parts, fid: str, question: WithdrawLock) -> None:
    await parts.locks.withdraw(fid, question.lid)


async def _sleep(parts: Parts, by: Execution, question: Sleep) -> WaitOutcome:
    return await parts.waits.sleep(by, question)


async def _receive(parts: Parts, by: Execution, question: Receive) -> WaitOutcome:
    return await parts.waits.receive(by, question)


async def _call_flow(parts: Parts, by: Execution, question: CallFlow) -> WaitOutcome:
    return await parts.waits.call(by, question)


async def _withdraw_wait(parts: Parts, by: Execution, question: WithdrawWait) -> None:
    await parts.waits.withdraw(by.fid, question.key)


async def _read_history(parts: Parts, by: Execution, _: ReadHistory) -> str:
    return await _once_there(parts, by, lambda: parts.histories.past(by))


async def _read_step(parts: Parts, by: Execution, question: ReadStep) -> str:
    return await _once_there(parts, by, lambda: parts.histories.result(by, question.key))


async def _once_there(parts: Parts, by: Execution, read: Callable[[], Awaitable[str]]) -> str:
    """Read what an execution has recorded. While the storage of blobs is away, try again.

    It would have to end otherwise, although it has done nothing wrong.
    """
    while True:
        try:
            return await read()
        except BlobsAwayError:
            now = await parts.store.executions.get(by.fid)
            if now.status.is_final or now.attempt != by.attempt:
                raise  # nobody waits for the answer any more
            await asyncio.sleep(RETRY_S)


async def _park(parts: Parts, by: Execution, question: Park) -> bool:
    used = question.used if question.used is not None and question.used.is_sound else None
    return await parts.supervisor.park(by, keys=question.keys, lids=question.locks, used=used)


async def _end_work(parts: Parts, fid: str, question: EndWork) -> None:
    await parts.leftovers.settle(fid, question)


#: Each handler with the type of its question.
HANDLERS: dict[type[Question[Any]], Handler] = {
    FindCrash: _find_crash,
    EndpointKey: _endpoint_key,
    AccessFiles: _access_files,
    OpenLock: _open_lock,
    WaitForLock: _wait_for_lock,
    WithdrawLock: _withdraw_lock,
    EndWork: _end_work,
}
#: Those of questions that only the process that runs the execution may ask, because the answers
#: launch as its user or tell results. They get the execution.
OF_ITS_PROCESS: dict[type[Question[Any]], OwnHandler] = {
    Sleep: _sleep,
    Receive: _receive,
    CallFlow: _call_flow,
    WithdrawWait: _withdraw_wait,
    ReadHistory: _read_history,
    ReadStep: _read_step,
    Park: _park,
}
_KINDS = {kind.NAME: kind for kind in (*HANDLERS, *OF_ITS_PROCESS)}


async def answer(parts: Parts, blob: bytes) -> bytes:
    """Return the encoded answer to an encoded question; an error is an answer, too."""
    try:
        asked = wire.decode_question(blob)
        kind = _KINDS.get(asked.name)
        question = kind and msgspec.convert(asked.arguments, kind)
    except (msgspec.DecodeError, TypeError, RecursionError) as exc:
        # Not logged: any code in the cluster may ask, so an invalid question is not our fault.
        return wire.encode_answer(UsageError(f"this is not a valid question: {exc}"))
    try:
        if kind is None:
            raise UsageError(
                f"the control plane does not know the question {asked.name!r}",
                hint="is the runner's koco newer than the control plane's?",
            )
        return wire.encode_answer(await _answer(parts, asked, kind, question))
    except KocoError as exc:
        return wire.encode_answer(exc)
    except Exception as exc:
        log.exception("question %s failed", asked.name, extra={"fid": asked.fid})
        return wire.encode_answer(KocoError(f"the control plane failed to answer: {exc!r}"))


async def _answer(
    parts: Parts, asked: wire.Request, kind: type[Question[Any]], question: Any
) -> Any:
    if not asked.attempt and kind in HANDLERS:
        return await HANDLERS[kind](parts, asked.fid, question)
    execution = await parts.store.executions.get(asked.fid)
    if execution.fid != asked.fid:
        raise NotFoundError(f"no execution {asked.fid!r}")  # a process knows its whole fid
    if kind is Park and execution.attempt > asked.attempt > 0:
        return True  # it has left that process already
    if asked.attempt:
        _require_current(execution, asked)
    if kind in HANDLERS:
        return await HANDLERS[kind](parts, asked.fid, question)
    _require_process(execution, asked)
    return await OF_ITS_PROCESS[kind](parts, execution, question)


def _require_current(execution: Execution, asked: wire.Request) -> None:
    """Refuse questions of an earlier attempt, from a leftover thread or Ray task."""
    if execution.attempt != asked.attempt:
        raise ConflictError(
            f"attempt {asked.attempt} of {asked.fid} has ended; attempt {execution.attempt} follows"
        )


def _require_process(execution: Execution, asked: wire.Request) -> None:
    """Refuse a question that does not come from the process that runs the execution now."""
    if not asked.attempt or not execution.runner or execution.status.is_final:
        raise ConflictError(
            f"{asked.name} of {asked.fid} is answered only to the process that runs it"
        )
