"""From the flows' threads to the control plane: gather, send, keep until acknowledged.

One call is under way at a time. What is written meanwhile gathers and goes with
the next: no timer, so an idle spool sends at once and a busy one sends full
calls. What the control plane refuses, as its disk is full, say, goes again when
there is nothing else. Memory is bounded: while the spool is full, writers wait. What it holds
stands in a file as well (`koco.runner.backlog`), for whoever finds its process dead.
"""

import asyncio
import concurrent.futures
import secrets
import threading
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from itertools import accumulate
from typing import Any, Protocol

from koco.events import wire
from koco.events.model import Batch, Status
from koco.runner import fence, task
from koco.runner import output as outputs
from koco.runner.backlog import Backlog
from koco.sdk.control import Control

#: Bytes in one call. Ray passes arguments of up to 100 KiB along with the call;
#: larger ones take a detour through shared memory.
CALL_BYTES = 88 * 1024
#: About how much goes of what was refused, until it is taken again (bytes).
_PROBE_BYTES = 4 * 1024
#: Bytes that may wait in the spool before writers have to.
ROOM_BYTES = 4 * 1024 * 1024


#: No event takes less: its time and its kind stand in it (see `koco.events.line`).
_LEAST_BYTES = 50


class Closed(Protocol):
    """What to do when the control plane wants no more of an execution."""

    def __call__(self, fid: str) -> None:
        """Called on the spool's loop."""


class _Outbox:
    """One execution's unsent lines."""

    __slots__ = (
        "acked", "asked", "attempt", "done", "fid", "flushes", "lines", "next", "producer", "status"
    )  # fmt: skip

    def __init__(self, fid: str, attempt: int) -> None:
        self.fid = fid
        self.attempt = attempt
        self.producer = secrets.token_hex(6)
        self.lines: list[bytes] = []
        #: The number of the first unsent line.
        self.next = 1
        #: The status to be reached once all lines are sent.
        self.status: Status | None = None
        self.done: asyncio.Future[bool] | None = None
        #: The number of the last line that is acknowledged.
        self.acked = 0
        #: Who waits until that is so many.
        self.flushes: list[tuple[int, asyncio.Future[None]]] = []
        #: Questions whose answer is awaited.
        self.asked: set[concurrent.futures.Future[Any]] = set()

    def flushed(self) -> None:
        """Wake who waited for what is acknowledged now."""
        due = [future for number, future in self.flushes if number <= self.acked]
        self.flushes = [pair for pair in self.flushes if pair[0] > self.acked]
        for future in due:
            _wake_up(future)


class Attempt:
    """A sink (see `koco.sdk.tracer.Sink`) for one attempt of an execution.

    What it leaves behind, threads and Ray tasks, has no part in the next attempt.
    """

    def __init__(self, spool: "Spool", number: int) -> None:
        self._spool = spool
        self._number = number

    def put(self, fid: str, event: bytes, then: Callable[[], None] | None = None) -> None:
        """Take an event; block while there is no room. `then` is called once it is kept."""
        if (mine := fence.here()) is None:
            self._spool.put(fid, event, self._number, then)
        else:
            with mine:
                self._spool.put(fid, event, self._number, then)

    async def put_async(self, fid: str, event: bytes) -> None:
        """Take an event; wait while there is no room."""
        await self._spool.put_async(fid, event, self._number)

    def ask(self, fid: str, question: str, arguments: dict[str, Any]) -> Any:
        """Ask the control plane; see `Sink.ask`."""
        with fence.inside():
            return self._spool.ask(fid, question, arguments, self._number)

    async def ask_async(self, fid: str, question: str, arguments: dict[str, Any]) -> Any:
        """Ask the control plane; see `Sink.ask`."""
        return await self._spool.ask_async(fid, question, arguments, self._number)

    def travel(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return what makes a sink in another process."""
        return task.sink, (self._spool.control, self._number)


class Spool:
    """Takes the events and questions of one runner's executions.

    `deliver` takes encoded batches and returns encoded acknowledgements; it
    tries until it has them, and so does `question` with answers. `mark` and `run`
    belong to the spool's loop, `put` and `ask` may be called from any thread.
    """

    def __init__(
        self,
        runner: str,
        deliver: Callable[[bytes], Awaitable[bytes]],
        *,
        question: Callable[[bytes], Awaitable[bytes]] | None = None,
        control: Control | None = None,
        backlog: Backlog | None = None,
        on_closed: Closed = lambda fid: None,
    ) -> None:
        self._runner = runner
        self._deliver = deliver
        self._question = question
        self.control = control
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._outboxes: dict[str, _Outbox] = {}
        self._backlog = backlog
        #: Those whose final status is not acknowledged yet.
        self._ending: set[_Outbox] = set()
        self._ready: dict[str, _Outbox] = {}
        #: Those whose lines were refused: they let the others go first.
        self._refused: dict[str, _Outbox] = {}
        self._bytes = 0
        self._asleep = True
        self._pid = outputs.pid

    # any thread

    def put(
        self, fid: str, event: bytes, attempt: int = 0, then: Callable[[], None] | None = None
    ) -> None:
        """Take an event; block while there is no room. `then` is called once it is kept."""
        if outputs.pid != self._pid:
            raise _forked()
        with self._lock:
            while self._bytes > ROOM_BYTES:
                if mine := fence.here():
                    mine.check()
                self._room.wait()
            self._take(fid, event, attempt, then)

    def put_last(self, fid: str, event: bytes) -> None:
        """Take an execution's result, or its error: for that there is always room.

        Its flow has returned, and must not be told as lost with this process.
        """
        with self._lock:
            self._take(fid, event, 0)

    async def put_async(self, fid: str, event: bytes, attempt: int = 0) -> None:
        """Take an event; wait while there is no room."""
        if outputs.pid != self._pid:
            raise _forked()
        while True:
            with self._lock:
                if self._bytes <= ROOM_BYTES:
                    self._take(fid, event, attempt)
                    return
                loop = asyncio.get_running_loop()
                future: asyncio.Future[None] = loop.create_future()
                self._waiting.append((loop, future))
            await future

    def ask(self, fid: str, question: str, arguments: dict[str, Any], attempt: int = 0) -> Any:
        """Ask the control plane; see `Sink.ask`."""
        future = self._asking(fid, question, arguments, attempt)
        if (mine := fence.here()) and mine.is_due:
            future.cancel()  # `forget_questions` may have come before it was asked
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise asyncio.CancelledError from None

    async def ask_async(
        self, fid: str, question: str, arguments: dict[str, Any], attempt: int = 0
    ) -> Any:
        """Ask the control plane; see `Sink.ask`."""
        return await asyncio.wrap_future(self._asking(fid, question, arguments, attempt))

    def forget_questions(self, fid: str) -> None:
        """Cancel what an execution awaits: its threads wait where no exception reaches them.

        Those that wait for room look whether they were cancelled.
        """
        with self._lock:
            self._room.notify_all()
            outbox = self._outboxes.get(fid)
            asked = list(outbox.asked) if outbox else []
        for future in asked:
            future.cancel()

    def _asking(
        self, fid: str, question: str, arguments: dict[str, Any], attempt: int
    ) -> concurrent.futures.Future[Any]:
        if outputs.pid != self._pid:
            raise _forked()
        blob = wire.encode_question(fid, question, arguments, attempt=attempt)
        future = asyncio.run_coroutine_threadsafe(self._answer(fid, blob), self._loop)
        with self._lock:
            if outbox := self._outbox(fid, attempt):
                outbox.asked.add(future)
                future.add_done_callback(outbox.asked.discard)
        return future

    def _outbox(self, fid: str, attempt: int) -> _Outbox | None:
        outbox = self._outboxes.get(fid)
        return outbox if outbox and attempt in (0, outbox.attempt) else None

    def _take(
        self, fid: str, event: bytes, attempt: int, then: Callable[[], None] | None = None
    ) -> None:
        outbox = self._outbox(fid, attempt)
        if outbox is None:
            return  # its attempt is over: a thread it left behind still writes
        if self._backlog is None:
            outbox.lines.append(event)
        else:
            self._backlog.add(outbox, event)
        if then is not None:
            then()
        self._bytes += len(event)
        if fid not in self._refused:
            self._ready[fid] = outbox
        if self._asleep:
            # In this order: a cancelled thread may raise anywhere, and must not leave a spool
            # that nobody wakes.
            self._loop.call_soon_threadsafe(self._wake.set)
            self._asleep = False

    # the spool's loop

    def open(self, fid: str, attempt: int = 0) -> Attempt:
        """Begin to take an execution's events; return where its attempt puts them."""
        sink = Attempt(self, attempt)
        with self._lock:
            former = self._outboxes.get(fid)
            self._outboxes[fid] = _Outbox(fid, attempt)
            if former is None:
                return sink
            # The next attempt came before the answer to what ended the one before it.
            self._ready.pop(fid, None)
            self._refused.pop(fid, None)
            self._ending.discard(former)
            self._bytes -= sum(map(len, former.lines))
        former.acked = former.next + len(former.lines)
        former.flushed()
        if former.done and not former.done.done():
            former.done.set_result(False)
        return sink

    async def _answer(self, fid: str, blob: bytes) -> Any:
        assert self._question is not None
        await self._flush(fid)
        return wire.decode_answer(await self._question(blob))

    async def _flush(self, fid: str) -> None:
        """Return once all that an execution has written so far is committed."""
        with self._lock:
            outbox = self._outboxes.get(fid)
            if outbox is None:
                return
            written = outbox.next - 1 + len(outbox.lines)
            if outbox.acked >= written:
                return
            future: asyncio.Future[None] = self._loop.create_future()
            outbox.flushes.append((written, future))
        await future

    async def mark(self, fid: str, status: Status) -> bool:
        """Send a status after all that was written; return once it is committed.

        False means that the control plane wants no more of this execution: it
        has ended it, or given it to another runner.
        """
        with self._lock:
            outbox = self._outboxes.get(fid)
            if outbox is None:
                return False
            outbox.status = status
            outbox.done = done = self._loop.create_future()
            # Also where its lines were refused: there may be room for the last ones.
            self._refused.pop(fid, None)
            self._ready[fid] = outbox
            if status.is_final and self._backlog is not None:
                self._ending.add(outbox)
                self._backlog.mark(outbox, status)
        self._asleep = False
        self._wake.set()
        return bool(await done)

    @property
    def held(self) -> list[str]:
        """The executions whose events this spool still takes or holds."""
        with self._lock:
            return list(self._outboxes)

    async def run(self) -> None:
        """Send what gathers, for ever."""
        while True:
            with self._lock:
                batches = self._gather()
                self._asleep = not batches
                if self._asleep:
                    self._wake.clear()
            if not batches:
                await self._wake.wait()
                continue
            await self._send(batches)

    def _gather(self) -> list[Batch]:
        batches: list[Batch] = []
        waiting, room = self._ready, CALL_BYTES
        if not waiting:
            waiting, room = self._refused, _PROBE_BYTES
        while waiting and room > 0:
            fid = next(iter(waiting))
            outbox = waiting.pop(fid)
            count, size = _fit(outbox.lines, room)
            taken = outbox.lines[:count]
            del outbox.lines[:count]
            if outbox.lines:
                waiting[fid] = outbox  # at the end: a noisy one waits for the others
            room -= size
            status = None if outbox.lines else outbox.status
            is_last = outbox.status is not None and outbox.status.is_final
            batches.append(
                Batch(
                    fid,
                    outbox.producer,
                    outbox.next,
                    count,
                    b"\n".join(taken),
                    self._runner,
                    status,
                    outbox.attempt,
                    is_last,
                )
            )
            outbox.next += count
        return batches

    async def _send(self, batches: list[Batch]) -> None:
        acks = wire.decode_acks(await self._deliver(wire.encode_batches(batches)))
        # The last ones first: of an execution's two batches, the second is behind a gap.
        for batch, ack in reversed(list(zip(batches, acks, strict=True))):
            if not batch.is_held(ack):
                self._take_back(batch)
        for batch, ack in zip(batches, acks, strict=True):
            if batch.is_held(ack):
                self._acknowledge(batch, closed=ack.closed)

    def _take_back(self, batch: Batch) -> None:
        """Keep what was refused, before what was written meanwhile."""
        with self._lock:
            outbox = self._outboxes.get(batch.fid)
            if outbox is None or outbox.producer != batch.producer:
                self._forget(batch)
                return
            outbox.lines[:0] = batch.body.split(b"\n") if batch.count else []
            outbox.next = batch.first
            is_last = outbox.status is not None and outbox.status.is_final
            if batch.is_last == is_last:
                self._ready.pop(batch.fid, None)
                self._refused[batch.fid] = outbox
            # Else its end was marked meanwhile, and there may be room for what is last.

    def _forget(self, batch: Batch) -> None:
        # A separator was added for each line but one: count what `_take` counted.
        self._bytes -= len(batch.body) - max(0, batch.count - 1)

    def _acknowledge(self, batch: Batch, *, closed: bool) -> None:
        fid = batch.fid
        with self._lock:
            self._forget(batch)
            outbox = self._outboxes.get(fid)
            if outbox is None or outbox.producer != batch.producer:
                # A call may hold two batches of one execution: the first told that it is closed.
                # Or it is of an attempt before the one that runs here now.
                self._make_room()
                return
            outbox.acked = batch.first + batch.count - 1
            if self._refused and batch.count and not batch.is_last:
                # There is room: they need not let others go first any more.
                self._ready.update(self._refused)
                self._refused.clear()
            if closed or (batch.status is not None and batch.status.is_final):
                del self._outboxes[fid]
                self._ready.pop(fid, None)
                self._refused.pop(fid, None)
                self._ending.discard(outbox)
                self._bytes -= sum(map(len, outbox.lines))
                # Whoever still asks is told by the control plane that it is over. One more than
                # its lines: the status in the backlog counts as well.
                outbox.acked = outbox.next + len(outbox.lines)
            self._make_room()
        outbox.flushed()
        if batch.status is not None and batch.status is outbox.status:
            outbox.status = None
            if outbox.done and not outbox.done.done():
                outbox.done.set_result(not closed)
        elif closed:
            if outbox.done and not outbox.done.done():
                outbox.done.set_result(False)
            self._on_closed(fid)

    def _make_room(self) -> None:
        if self._backlog is not None:
            if not self._bytes and not self._ending:
                self._backlog.clear()
            else:
                self._backlog.release()
        if self._bytes > ROOM_BYTES:
            return
        self._room.notify_all()
        waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_wake_up, future)
            except RuntimeError:
                continue  # that loop is closed, and its writer gone with it


def _forked() -> Exception:
    return RuntimeError(
        "the tracer cannot be used in a forked process, which has no way to the event stream: "
        "use threads or Ray tasks, or print"
    )


def _wake_up(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fit(lines: list[bytes], room: int) -> tuple[int, int]:
    """Return how many lines fit into `room` bytes (one does in any case), and their size."""
    # No more than that are looked at, of what may be very many.
    ends = list(accumulate(map(len, lines[: room // _LEAST_BYTES + 1])))
    if not ends:
        return 0, 0
    count = max(1, bisect_right(ends, room))
    return count, ends[count - 1] + count
