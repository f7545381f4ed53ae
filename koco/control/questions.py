"""What flows ask the control plane, from runners and from Ray tasks: one call, by name.

A handler takes the parts, the fid of the execution that asks, and its arguments.
A question may be asked twice, for its asker repeats it when this process dies over
it: handlers must bear that.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from koco.control import crashes, endpoints, files, leftovers, locks, vault
from koco.control.parts import Parts
from koco.errors import ConflictError, KocoError, UsageError
from koco.events import wire

log = logging.getLogger(__name__)

Handler = Callable[[Parts, str, dict[str, Any]], Awaitable[Any]]

#: Every question by its name.
HANDLERS: dict[str, Handler] = {
    "crash.find": crashes.asked,
    "endpoints.key": endpoints.key,
    "files.access": files.access,
    "lock.open": locks.opened,
    "lock.wait": locks.settled,
    "lock.withdraw": locks.withdrawn,
    "secrets.value": vault.asked,
    "work.ended": leftovers.ended,
}


async def answer(parts: Parts, blob: bytes) -> bytes:
    """Return the answer to an encoded question; an error is an answer, too."""
    asked = wire.decode_question(blob)
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
    """Refuse what a former attempt has left behind: a thread, or a Ray task."""
    execution = await parts.store.execution(asked.fid)
    if execution.attempt != asked.attempt:
        raise ConflictError(
            f"attempt {asked.attempt} of {asked.fid} has ended; attempt {execution.attempt} follows"
        )
