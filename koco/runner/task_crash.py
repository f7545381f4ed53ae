"""Why a Ray task or actor of a flow died: Ray says only that it did, its process has said more."""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from koco.errors import KocoError
from koco.sdk import crash

#: What Ray raises where such a process died. Out of memory is told by an error of its own.
_ERRORS = ("WorkerCrashedError", "ActorDiedError")
#: How long is looked for what the process has left, as Ray may tell sooner than the kernel, and
#: how long other nodes may take (seconds).
_LOOK_S = 1.0
_ASK_S = 5.0
_PAUSE_S = 0.05

#: Asks the control plane; see `Sink.ask_async`.
Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]


def is_crash(payload: Any) -> bool:
    """Say whether an `error` payload tells of the death of such a process."""
    return isinstance(payload, dict) and any(name in str(payload.get("type")) for name in _ERRORS)


async def explained(
    payload: dict[str, Any], *, release: str, since: float, ask: Ask
) -> dict[str, Any]:
    """Return an `error` payload with how the process ended, where that can be found.

    `release` is `service/number`; the process has ended after `since` (seconds since 1970).
    """
    told = re.search(r"^\s*pid: (\d+)", payload["message"], re.MULTILINE)
    pid = int(told[1]) if told else 0
    found = await _found_here(release, since, pid)
    if found is None:
        with contextlib.suppress(KocoError, TimeoutError):
            question = {"release": release, "since": since, "pid": pid}
            found = await asyncio.wait_for(ask("crash.find", question), _ASK_S)
    if found is None:
        return payload
    said = f"the process of a Ray task or actor (pid {found['pid']}) {found['how']}"
    traceback = "\n\n".join(filter(None, (payload["traceback"], found["traceback"])))
    return {**payload, "message": f"{said}\n\n{payload['message']}", "traceback": traceback}


async def _found_here(release: str, since: float, pid: int) -> dict[str, Any] | None:
    until = time.monotonic() + _LOOK_S
    while (found := await asyncio.to_thread(look, release, since, pid)) is None:
        if time.monotonic() > until:
            return None
        await asyncio.sleep(_PAUSE_S)
    return found


def look(release: str, since: float, pid: int) -> dict[str, Any] | None:
    """Return `{pid, how, traceback}` of a worker of this node that has died, if there is one."""
    if (found := crash.find(release, since=since, pid=pid)) is None:
        return None
    number, end = found
    return {"pid": number, "how": str(end), "traceback": end.traceback}
