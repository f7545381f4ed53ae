"""Find out why a Ray task or actor of a flow died: its process has recorded more than Ray says."""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from koco.errors import KocoError
from koco.events.questions import Crash, FindCrash
from koco.sdk.process import crash

#: Errors that Ray raises if such a process died. Out of memory has its own error.
_ERRORS = ("WorkerCrashedError", "ActorDiedError")
#: How long to look for the process's record, because Ray may report the death before the kernel
#: does; and how long other nodes may take to answer (seconds).
_LOOK_S = 1.0
_ASK_S = 5.0
_PAUSE_S = 0.05

#: Asks the control plane; see `Sink.ask_async`.
Ask = Callable[[FindCrash], Awaitable[Crash | None]]


def is_crash(payload: Any) -> bool:
    """Return whether an `error` payload is about the death of such a process."""
    return isinstance(payload, dict) and any(name in str(payload.get("type")) for name in _ERRORS)


async def add_cause(
    payload: dict[str, Any], *, release: str, since: float, ask: Ask
) -> dict[str, Any]:
    """Return an `error` payload with how the process ended, if that can be found.

    `release` is `service/number`. The process ended after `since` (seconds since 1970).
    """
    match = re.search(r"^\s*pid: (\d+)", payload["message"], re.MULTILINE)
    pid = int(match[1]) if match else 0
    until = time.monotonic() + _LOOK_S
    while (found := await asyncio.to_thread(look, release, since, pid)) is None:
        if time.monotonic() > until:
            break
        await asyncio.sleep(_PAUSE_S)
    if found is None:
        with contextlib.suppress(KocoError, TimeoutError):
            question = FindCrash(release=release, since=since, pid=pid)
            found = await asyncio.wait_for(ask(question), _ASK_S)
    if found is None:
        return payload
    said = f"the process of a Ray task or actor (pid {found.pid}) {found.how}"
    traceback = "\n\n".join(filter(None, (payload["traceback"], found.traceback)))
    return {**payload, "message": f"{said}\n\n{payload['message']}", "traceback": traceback}


def look(release: str, since: float, pid: int) -> Crash | None:
    """Return how a worker of this node ended, or None."""
    if (found := crash.find(release, since=since, pid=pid)) is None:
        return None
    number, end = found
    return Crash(pid=number, how=str(end), traceback=end.traceback)
