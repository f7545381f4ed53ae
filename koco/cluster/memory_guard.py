"""Keep the control plane's node from running out of memory.

Each process of a service has a limit, but together they may need more memory than the node has.
Ray's monitor would then end restartable processes first, newest to oldest, until enough is free.
That would end the control plane long before the runner that took the memory. So this module ends
the process that uses most memory before Ray's monitor acts. `koco.runner.process.memory_watch`
does the same for runners on other nodes.
"""

import asyncio
import contextlib
import logging
import threading
from pathlib import Path

from koco.cluster import node_processes
from koco.runner.process import identity, memory_watch
from koco.sdk.process import memory

log = logging.getLogger(__name__)

#: The pause between two checks (seconds): the longest, and the shortest, if little memory is left.
_FAR_S, _NEAR_S = 1.0, 0.1
#: The fastest that processes are assumed to take memory (bytes per second). The next check comes
#: before the free memory could be used up at this rate.
_SPEED = 4 * 1024**3
#: How long an ended process may take to release its memory (seconds).
_FREED_S = 1.0
#: How many causes are remembered.
_KEPT = 1000

#: Why each process was ended here, by pid.
_causes: dict[int, str] = {}


async def keep() -> None:
    """Guard this node until cancelled. Runs in a thread because the event loop may be late."""
    ended = threading.Event()
    threading.Thread(target=_run, args=(ended,), name="koco-memory", daemon=True).start()
    try:
        await asyncio.Future()
    finally:
        ended.set()


def cause(pid: int) -> str | None:
    """Return why a process was ended here, or None if it was not."""
    return _causes.get(pid)


def _run(ended: threading.Event) -> None:
    if not memory.node_total():
        return  # not Linux: there is nothing to read
    pause_s = _NEAR_S
    while not ended.wait(pause_s):
        _spare_this_process()
        if memory.is_short() and _end_heaviest():
            pause_s = _FREED_S
        else:
            pause_s = min(max(memory.node_free() / _SPEED / 4, _NEAR_S), _FAR_S)


def _end_heaviest() -> bool:
    """End the process that uses most memory. Return False if none is worth ending."""
    pid, used = memory_watch.find_heaviest() or (0, 0)
    if not pid or not memory.is_worth_ending(used):
        return False
    message = memory.shortage_message(used)
    log.warning("ended process %s: it %s", pid, message)
    if len(_causes) >= _KEPT:
        _causes.clear()
    _causes[pid] = message
    known = identity.identify(pid)
    memory_watch.kill_descendants(pid)
    node_processes.kill(known)
    return True


def _spare_this_process() -> None:
    """Make the kernel end other processes first if it runs out of memory.

    Ray makes each of its workers the kernel's first choice (1000). Undoing that needs no
    privilege, because the worker did not start with that value.
    """
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        if path.read_text().strip() == "1000":
            path.write_text("0")
