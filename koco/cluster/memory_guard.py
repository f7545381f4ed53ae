"""Keeps the control plane's node from running out of memory, whoever takes it.

Each process of a service has a limit, but all together may want more than there is. Then Ray's
monitor would end what it can start again first, the newest before the oldest, until enough is
free: the control plane, long before the runner that took the memory. So the process that uses
most is ended here, before that. `koco.runner.process.memory_watch` does as much for runners of
other nodes.
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

#: The pause between two looks (seconds): at most, and at least where little is left.
_FAR_S, _NEAR_S = 1.0, 0.1
#: How fast memory may be taken (bytes a second): so long is what is left enough.
_SPEED = 4 * 1024**3
#: How long what was ended may take to give its memory back (seconds).
_FREED_S = 1.0
#: How many causes are remembered.
_KEPT = 1000

#: What was ended here and why, by pid.
_causes: dict[int, str] = {}


async def keep() -> None:
    """Look after this node until cancelled; in a thread, as the loop may be late."""
    ended = threading.Event()
    threading.Thread(target=_run, args=(ended,), name="koco-memory", daemon=True).start()
    try:
        await asyncio.Future()
    finally:
        ended.set()


def cause(pid: int) -> str | None:
    """Say why a process was ended here; None where it was not."""
    return _causes.get(pid)


def _run(ended: threading.Event) -> None:
    if not memory.node_total():
        return  # no Linux: there is nothing to look at
    pause_s = _NEAR_S
    while not ended.wait(pause_s):
        _spare_this_process()
        if memory.is_short() and _end_heaviest():
            pause_s = _FREED_S
        else:
            pause_s = min(max(memory.node_free() / _SPEED / 4, _NEAR_S), _FAR_S)


def _end_heaviest() -> bool:
    """End the process that uses most; return whether there is one that is worth it."""
    pid, used = memory_watch.find_heaviest() or (0, 0)
    if not pid or not memory.is_worth_ending(used):
        return False
    said = memory.shortage_message(used)
    log.warning("ended process %s: it %s", pid, said)
    if len(_causes) >= _KEPT:
        _causes.clear()
    _causes[pid] = said
    known = identity.identify(pid)
    memory_watch.kill_descendants(pid)
    node_processes.kill(known)
    return True


def _spare_this_process() -> None:
    """Have the kernel, should it run out of memory, end others first.

    Ray makes each of its workers the kernel's first choice (1000). To take that back needs no
    privilege, as the worker was not begun so.
    """
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        if path.read_text().strip() == "1000":
            path.write_text("0")
