"""Questions that flows ask the control plane, from runners and from Ray tasks: one call, by name.

A handler takes the parts, the fid of the execution that asks, and the arguments. A question may
arrive twice, because the asker repeats it if this process dies before it answers. Handlers must be
able to run twice.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from koco.control.container import Parts
from koco.control.runners import crash_reports
from koco.errors import ConflictError, KocoError, UsageError
from koco.events import wire

log = logging.getLogger(__name__)

Handler = Callable[[Parts, str, dict[str, Any]], Awaitable[Any]]


async def _find_crash(_: Parts, __: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    return await crash_reports.find(asked["release"], since=asked["since"], pid=asked["pid"])


async def _endpoint_key(parts: Parts, _: str, asked: dict[str, Any]) -> str:
    """Return the key with which a replica checks signatures."""
    return parts.endpoints.key(asked["service"], asked["release"]).hex()


async def _file_access(parts: Parts, fid: str, _: dict[str, Any]) -> dict[str, str]:
    """Return the URL of an execution's files and the token for them: `{url, token}`."""
    execution = await parts.store.execution(fid)
    return {"url": parts.node_url, "token": parts.files.token(fid, execution.attempt)}


async def _open_lock(parts: Parts, fid: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Open a lock, given `{lid, name, data, timeout_s}`; return `{expires}`."""
    lock = await parts.locks.open(
        fid, asked["lid"], name=asked["name"], data=asked["data"], timeout_s=asked["timeout_s"]
    )
    return {"expires": lock.expires}


async def _wait_for_lock(parts: Parts, fid: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Wait until a lock is settled; return `{status, answer, moments}`."""
    lock = await parts.locks.wait(fid, asked["lid"])
    return {"status": lock.status, "answer": lock.answer, "moments": lock.moments}


async def _withdraw_lock(parts: Parts, fid: str, asked: dict[str, Any]) -> dict[str, Any]:
    return {"status": (await parts.locks.withdraw(fid, asked["lid"])).status}


async def _end_work(parts: Parts, fid: str, asked: dict[str, Any]) -> None:
    """End an execution's remaining work in Ray, after its runner has ended all it could."""
    await parts.leftovers.settle(fid, asked)


#: Each handler by the name of its question.
HANDLERS: dict[str, Handler] = {
    "crash.find": _find_crash,
    "endpoints.key": _endpoint_key,
    "files.access": _file_access,
    "lock.open": _open_lock,
    "lock.wait": _wait_for_lock,
    "lock.withdraw": _withdraw_lock,
    "work.ended": _end_work,
}


async def answer(parts: Parts, blob: bytes) -> bytes:
    """Return the encoded answer to an encoded question; an error is an answer, too."""
    try:
        asked = wire.decode_question(blob)
    except (msgspec.DecodeError, TypeError, RecursionError) as exc:
        # Not logged: any code in the cluster may ask, so a bad question is no fault of ours.
        return wire.encode_answer(UsageError(f"that is no question: {exc}"))
    handler = HANDLERS.get(asked.name)
    try:
        if handler is None:
            raise UsageError(
                f"the control plane does not know the question {asked.name!r}",
                hint="is the runner's koco newer than the control plane's?",
            )
        if asked.attempt:
            await _require_current(parts, asked)
        return wire.encode_answer(await handler(parts, asked.fid, asked.arguments))
    except KocoError as exc:
        return wire.encode_answer(exc)
    except Exception as exc:
        log.exception("question %s failed", asked.name, extra={"fid": asked.fid})
        return wire.encode_answer(KocoError(f"the control plane failed at this: {exc!r}"))


async def _require_current(parts: Parts, asked: wire.Question) -> None:
    """Refuse questions of an earlier attempt, from a leftover thread or Ray task."""
    execution = await parts.store.execution(asked.fid)
    if execution.attempt != asked.attempt:
        raise ConflictError(
            f"attempt {asked.attempt} of {asked.fid} has ended; attempt {execution.attempt} follows"
        )
