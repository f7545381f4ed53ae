"""What flows ask the control plane, from runners and from Ray tasks: one call, by name.

A handler takes the parts, the fid of the execution that asks, and its arguments.
A question may be asked twice, for its asker repeats it when this process dies over
it: handlers must bear that.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from koco.control import endpoints, files, locks, vault
from koco.control.parts import Parts
from koco.errors import KocoError, UsageError
from koco.events import wire

log = logging.getLogger(__name__)

Handler = Callable[[Parts, str, dict[str, Any]], Awaitable[Any]]

#: Every question by its name.
HANDLERS: dict[str, Handler] = {
    "endpoints.key": endpoints.key,
    "files.access": files.access,
    "lock.open": locks.opened,
    "lock.wait": locks.settled,
    "lock.withdraw": locks.withdrawn,
    "secrets.value": vault.asked,
}


async def answer(parts: Parts, blob: bytes) -> bytes:
    """Return the answer to an encoded question; an error is an answer, too."""
    fid, question, arguments = wire.decode_question(blob)
    handler = HANDLERS.get(question)
    try:
        if handler is None:
            raise UsageError(
                f"the control plane does not know the question {question!r}",
                hint="is the runner's koco newer than the control plane's?",
            )
        return wire.encode_answer(await handler(parts, fid, arguments))
    except KocoError as exc:
        return wire.encode_answer(exc)
    except Exception as exc:
        log.exception("question %s failed", question, extra={"fid": fid})
        return wire.encode_answer(KocoError(f"the control plane failed at this: {exc!r}"))
