"""One execution's events that are not committed yet, and everything that waits for them."""

import asyncio
import collections
import concurrent.futures
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any

from koco.events.model import Status
from koco.events.used import Used

#: How often it is sent what an execution has used, while it writes events (seconds).
_MEASURED_S = 2.0

#: Told whether its line was committed.
_Future = asyncio.Future[bool] | concurrent.futures.Future[bool]


class Outbox:
    """One attempt's unsent lines. The spool calls it while it holds its lock."""

    __slots__ = (
        "acked", "asked", "attempt", "bytes", "done", "fid", "held", "lines", "measure",
        "measured_at", "next", "producer", "refused_at", "status", "waiters",
    )  # fmt: skip

    def __init__(self, fid: str, attempt: int) -> None:
        self.fid = fid
        self.attempt = attempt
        self.producer = secrets.token_hex(6)
        self.lines: list[bytes] = []
        #: The size of the lines that are not acknowledged.
        self.bytes = 0
        #: When its lines were refused (monotonic); None if the last ones were accepted.
        self.refused_at: float | None = None
        #: The number of the first unsent line.
        self.next = 1
        #: The status to set once all lines are sent.
        self.status: Status | None = None
        self.done: asyncio.Future[bool] | None = None
        #: The number of the last acknowledged line.
        self.acked = 0
        #: What waits until a line is acknowledged, in the order of their numbers: each with the
        #: loop of its future, or None if the spool's thread may settle it.
        self.waiters = collections.deque[tuple[int, asyncio.AbstractEventLoop | None, _Future]]()
        #: Resolved once the flow may get the answers to its questions again; None if it gets them.
        self.held: asyncio.Future[None] | None = None
        #: Returns what the execution has used so far, and when it was last sent (monotonic).
        self.measure: Callable[[], Used] | None = None
        self.measured_at = 0.0
        #: Questions, and commits that block a thread.
        self.asked: set[concurrent.futures.Future[Any]] = set()

    def used(self, status: Status | None) -> Used | None:
        """Return what the execution has used, if it is to be sent: at its end, and now and then."""
        if self.measure is None:
            return None
        now = time.monotonic()
        if (status is None or not status.is_final) and now - self.measured_at < _MEASURED_S:
            return None
        self.measured_at = now
        return self.measure()

    @property
    def written(self) -> int:
        """The number of the last line so far."""
        return self.next - 1 + len(self.lines)

    def add_waiter(self, future: _Future, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Settle a future once every line so far is acknowledged, or the outbox is closed."""
        self.waiters.append((self.written, loop, future))

    def add_asked(self, future: concurrent.futures.Future[Any]) -> None:
        """Keep a future in `asked` until it is done."""
        self.asked.add(future)
        future.add_done_callback(self.asked.discard)

    def close(self) -> int:
        """Count everything as acknowledged; return the number of the last line that really is.

        The execution is over, so later questions need not wait: the control plane answers them.
        The final status in the backlog counts as one more line.
        """
        committed, self.acked = self.acked, self.next + len(self.lines)
        return committed

    def wake_waiters(self, *, committed: int) -> None:
        """Settle the futures whose lines are acknowledged; called in the spool's thread, unlocked.

        `committed` is the last line that was really committed: `close` counts all as acknowledged.
        """
        by_loop: dict[asyncio.AbstractEventLoop | None, list[tuple[_Future, bool]]] = {}
        while self.waiters and self.waiters[0][0] <= self.acked:
            number, loop, future = self.waiters.popleft()
            by_loop.setdefault(loop, []).append((future, number <= committed))
        for loop, pairs in by_loop.items():
            if loop is None:
                _settle(pairs)
            else:
                with contextlib.suppress(RuntimeError):  # closed, so nobody waits on it
                    loop.call_soon_threadsafe(_settle, pairs)

    def end(self, *, committed: int) -> None:
        """Settle everything that waits, because no more of its lines will be committed."""
        self.wake_waiters(committed=committed)
        if self.done is not None and not self.done.done():
            self.done.set_result(False)


def _settle(pairs: list[tuple[_Future, bool]]) -> None:
    for future, is_committed in pairs:
        # A thread's future may be cancelled at any moment.
        with contextlib.suppress(asyncio.InvalidStateError, concurrent.futures.InvalidStateError):
            if not future.done():
                future.set_result(is_committed)
