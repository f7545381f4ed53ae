"""Send events from the flows' threads to the control plane; keep them until acknowledged.

Only one call is pending at a time. Events that are written meanwhile go with the next call: there
is no timer, so an idle spool sends at once and a busy one sends full calls. Batches that the
control plane refuses (for example because its disk is full) are sent again when there is nothing
else to send. Memory is bounded: while the spool is full, writers wait. Executions whose lines are
refused have a bound of their own, so that they do not stop the others. The spool's contents are in
a file as well (`koco.runner.output.backlog`), so that they survive this process.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate
from typing import Any, TypeVar

from koco.events import wire
from koco.events.model import Status
from koco.events.questions import A, Park, Question
from koco.events.used import Used
from koco.events.wire import Batch
from koco.runner.output import lines as outputs
from koco.runner.output import ray_task
from koco.runner.output.backlog import Backlog
from koco.runner.output.outbox import Outbox
from koco.runner.output.partial_lines import Kept
from koco.sdk.interruption import fence
from koco.sdk.process.control_client import Control

T = TypeVar("T")

#: How much goes into one call (bytes). Ray passes arguments of up to 100 KiB along with the call;
#: larger ones take a detour through shared memory.
CALL_BYTES = 88 * 1024
#: About how much of refused lines is sent as a probe, until it is accepted again (bytes).
_PROBE_BYTES = 4 * 1024
#: How long a refused line that is larger than a call waits before it is sent again (seconds).
_LARGE_AGAIN_S = 1.0
#: How much may wait in the spool before writers have to wait (bytes). Executions whose lines were
#: refused may fill so much together, and the others as much again.
ROOM_BYTES = 4 * 1024 * 1024


#: The size of the smallest event: it has a time and a kind (see `koco.events.line`).
_LEAST_BYTES = 50


class Attempt:
    """A sink (see `koco.sdk.tracer.Sink`) for one attempt of an execution.

    Threads and Ray tasks that this attempt leaves behind cannot write into the next attempt.
    """

    def __init__(self, spool: "Spool", number: int) -> None:
        self._spool = spool
        self._number = number

    def put(self, fid: str, event: bytes, kept: Kept | None = None) -> None:
        """Take an event; block while the spool is full. `kept` has its line so far."""
        if (mine := fence.here()) is None:
            self._spool.put(fid, event, self._number, kept)
        else:
            with mine:
                self._spool.put(fid, event, self._number, kept)

    def put_async(self, fid: str, event: bytes) -> Coroutine[Any, Any, None]:
        """Take an event; wait while the spool is full."""
        return self._spool.put_async(fid, event, self._number)

    def record(self, fid: str, event: bytes) -> None:
        """Take a step's event without waiting."""
        with fence.inside():
            self._spool.record(fid, event, self._number)

    def commit(self, fid: str, event: bytes) -> None:
        """Take a step's event; block until it is committed."""
        with fence.inside():
            self._spool.commit(fid, event, self._number)

    def commit_async(self, fid: str, event: bytes) -> Coroutine[Any, Any, None]:
        """Take a step's event; wait until it is committed."""
        return self._spool.commit_async(fid, event, self._number)

    def ask(self, fid: str, question: Question[A]) -> A:
        """Ask the control plane; see `Sink.ask`."""
        with fence.inside():
            return self._spool.ask(fid, question, self._number)

    async def ask_async(self, fid: str, question: Question[A]) -> A:
        """Ask the control plane; see `Sink.ask`."""
        return await self._spool.ask_async(fid, question, self._number)

    def holding_answers(self, fid: str) -> AbstractContextManager[None]:
        """Hold back answers; see `Spool.holding_answers`."""
        return self._spool.holding_answers(fid, self._number)

    def travel(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return a function and its arguments that make a sink in another process."""
        return ray_task.sink, (self._spool.control, self._number)


class Spool:
    """Takes the events and questions of one runner's executions.

    `deliver` takes encoded batches and returns encoded acknowledgements; it retries until it has
    them. `question` does the same with questions and answers. `on_closed` is called on the spool's
    loop when the control plane wants no more events of an execution. `mark` and `run` belong to
    that loop; `put` and `ask` may be called from any thread.
    """

    def __init__(
        self,
        runner: str,
        deliver: Callable[[bytes], Awaitable[bytes]],
        *,
        question: Callable[[bytes], Awaitable[bytes]] | None = None,
        control: Control | None = None,
        backlog: Backlog | None = None,
        on_closed: Callable[[str], object] = lambda fid: None,
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
        self._outboxes: dict[str, Outbox] = {}
        self._backlog = backlog
        #: Executions whose final status is not acknowledged yet.
        self._ending: set[Outbox] = set()
        self._ready: dict[str, Outbox] = {}
        #: Executions whose lines were refused: others go first.
        self._refused: dict[str, Outbox] = {}
        self._bytes = 0
        self._asleep = True
        self._pid = outputs.pid

    # any thread

    def put(self, fid: str, event: bytes, attempt: int = 0, kept: Kept | None = None) -> None:
        """Take an event; block while the spool is full. `kept` has its line so far."""
        self._require_own_process()
        with self._lock:
            self._wait_for_room(fid)
            self._take(fid, event, attempt, kept)

    async def put_async(self, fid: str, event: bytes, attempt: int = 0) -> None:
        """Take an event; wait while the spool is full."""
        self._require_own_process()
        while True:
            with self._lock:
                if not self._is_full(fid):
                    self._take(fid, event, attempt)
                    return
                room = self._ask_for_room()
            await room

    def record(self, fid: str, event: bytes, attempt: int = 0) -> None:
        """Take an event without waiting, even if the spool is full."""
        self._require_own_process()
        with self._lock:
            self._take(fid, event, attempt)

    def commit(self, fid: str, event: bytes, attempt: int = 0) -> None:
        """Take an event and block until it is committed; see `Sink.commit`."""
        self._require_own_process()
        future = concurrent.futures.Future[bool]()
        with self._lock:
            self._wait_for_room(fid)
            if (outbox := self._take(fid, event, attempt)) is None:
                raise asyncio.CancelledError
            outbox.add_waiter(future)
            outbox.add_asked(future)
        if not _result(future):
            raise asyncio.CancelledError

    async def commit_async(self, fid: str, event: bytes, attempt: int = 0) -> None:
        """Take an event and wait until it is committed; see `Sink.commit`."""
        self._require_own_process()
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                if not self._is_full(fid):
                    if (outbox := self._take(fid, event, attempt)) is None:
                        raise asyncio.CancelledError
                    future: asyncio.Future[bool] = loop.create_future()
                    outbox.add_waiter(future, loop)
                    break
                room = self._ask_for_room()
            await room
        if not await future:
            raise asyncio.CancelledError

    def ask(self, fid: str, question: Question[A], attempt: int = 0) -> A:
        """Ask the control plane; see `Sink.ask`."""
        return _result(self._send_question(fid, question, attempt))

    async def ask_async(self, fid: str, question: Question[A], attempt: int = 0) -> A:
        """Ask the control plane; see `Sink.ask`."""
        return await asyncio.wrap_future(self._send_question(fid, question, attempt))

    def forget_questions(self, fid: str) -> None:
        """Cancel an execution's questions, because no exception reaches the waiting threads.

        Threads that wait for room check for themselves whether they were cancelled.
        """
        with self._lock:
            self._room.notify_all()
            outbox = self._outboxes.get(fid)
            asked = list(outbox.asked) if outbox else []
        for future in asked:
            future.cancel()

    def _require_own_process(self) -> None:
        if outputs.pid != self._pid:
            raise RuntimeError(
                "the tracer cannot be used in a forked process, which cannot reach the event "
                "stream: use threads or Ray tasks, or print"
            )

    def _is_full(self, fid: str) -> bool:
        """Whether an execution's writers have to wait."""
        if self._bytes <= ROOM_BYTES:
            return False
        outbox, refused = self._outboxes.get(fid), self._refused_bytes()
        is_refused = outbox is not None and outbox.refused_at is not None
        return (refused if is_refused else self._bytes - refused) > ROOM_BYTES

    def _refused_bytes(self) -> int:
        outboxes = self._outboxes.values()
        return sum(each.bytes for each in outboxes if each.refused_at is not None)

    def _wait_for_room(self, fid: str) -> None:
        while self._is_full(fid):
            if mine := fence.here():
                mine.check()
            self._room.wait()

    def _ask_for_room(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((loop, future))
        return future

    def _send_question(
        self, fid: str, question: Question[A], attempt: int
    ) -> concurrent.futures.Future[A]:
        self._require_own_process()
        blob = wire.encode_question(fid, question, attempt=attempt)
        asking = self._ask_after_flush(fid, blob, question)
        future = asyncio.run_coroutine_threadsafe(asking, self._loop)
        with self._lock:
            if outbox := self._outbox(fid, attempt):
                outbox.add_asked(future)
        return future

    def _outbox(self, fid: str, attempt: int) -> Outbox | None:
        outbox = self._outboxes.get(fid)
        return outbox if outbox and attempt in (0, outbox.attempt) else None

    def _take(
        self, fid: str, event: bytes, attempt: int, kept: Kept | None = None
    ) -> Outbox | None:
        # This runs once for each event, so it has few steps.
        outbox = self._outboxes.get(fid)
        if outbox is None or (attempt and attempt != outbox.attempt):
            return None  # its attempt is over, but a thread that it left behind still writes
        if kept is not None:
            kept.announce(outbox.written + 1)
        try:
            if self._backlog is None:
                outbox.lines.append(event)
            else:
                self._backlog.add(outbox, event)
        finally:
            if kept is not None:
                # Before the lock is released: once the event is sent, it may leave the backlog.
                kept.settle()
        self._bytes += len(event)
        outbox.bytes += len(event)
        if fid not in self._refused:
            self._ready[fid] = outbox
        if self._asleep:
            # In this order, because a cancelled thread may raise anywhere: the spool must not
            # stay asleep.
            self._loop.call_soon_threadsafe(self._wake.set)
            self._asleep = False
        return outbox

    # the spool's loop

    def open(self, fid: str, attempt: int = 0) -> Attempt:
        """Begin to take an execution's events; return the sink of its attempt."""
        sink = Attempt(self, attempt)
        with self._lock:
            former = self._outboxes.get(fid)
            self._outboxes[fid] = Outbox(fid, attempt)
            if former is None:
                return sink
            # The next attempt started before the final status of the previous one was answered.
            committed = self._close(former)
        former.end(committed=committed)
        return sink

    def measure(self, fid: str, attempt: int, read: Callable[[], Used]) -> None:
        """Send along with an attempt's events, now and then, what it has used."""
        with self._lock:
            if outbox := self._outbox(fid, attempt):
                outbox.measure, outbox.measured_at = read, time.monotonic()

    def drop(self, fid: str, attempt: int) -> None:
        """Forget an attempt that no longer belongs to this runner: its events go nowhere now."""
        with self._lock:
            if (outbox := self._outbox(fid, attempt)) is None:
                return
            del self._outboxes[fid]
            committed = self._close(outbox)
            asked = list(outbox.asked)
            self._make_room()
        outbox.end(committed=committed)
        for future in asked:
            future.cancel()

    def _close(self, outbox: Outbox) -> int:
        """Drop the unsent lines of an outbox; return the number of the last committed one."""
        self._ready.pop(outbox.fid, None)
        self._refused.pop(outbox.fid, None)
        self._ending.discard(outbox)
        self._bytes -= sum(map(len, outbox.lines))
        return outbox.close()

    async def _ask_after_flush(self, fid: str, blob: bytes, question: Question[A]) -> A:
        assert self._question is not None
        await self._flush(fid)
        answer = await self._question(blob)
        outbox = self._outboxes.get(fid)
        if outbox is not None and outbox.held is not None and not isinstance(question, Park):
            await outbox.held
        return wire.decode_answer(answer, question)

    @contextmanager
    def holding_answers(self, fid: str, attempt: int) -> Iterator[None]:
        """Hold back the answers to an execution's questions, apart from `Park`, in the block.

        While it is being decided whether the execution stays, its flow must not go on. And if it
        does not stay, the flow must not see that its questions are refused: `drop` cancels them.
        """
        outbox = self._outbox(fid, attempt)
        if outbox is None:
            yield
            return
        outbox.held = held = self._loop.create_future()
        try:
            yield
        finally:
            outbox.held = None
            held.set_result(None)

    async def _flush(self, fid: str) -> None:
        """Return once everything that an execution has written so far is committed."""
        with self._lock:
            outbox = self._outboxes.get(fid)
            if outbox is None:
                return
            if outbox.acked >= outbox.written:
                return
            future: asyncio.Future[bool] = self._loop.create_future()
            outbox.add_waiter(future)
        await future

    async def mark(self, fid: str, status: Status) -> bool:
        """Send a status after all events so far; return once it is committed.

        False means that the control plane wants no more of this execution: it has ended the
        execution, or has given it to another runner.
        """
        with self._lock:
            outbox = self._outboxes.get(fid)
            if outbox is None:
                return False
            outbox.status = status
            outbox.done = done = self._loop.create_future()
            # Even if its lines were refused: there may be room for the last ones.
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
        """The executions whose events this spool still takes or has not sent."""
        with self._lock:
            return list(self._outboxes)

    async def run(self) -> None:
        """Send everything that is written, for ever."""
        while True:
            with self._lock:
                batches = self._gather()
                self._asleep = not batches
                if self._asleep:
                    self._wake.clear()
            if not batches:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LARGE_AGAIN_S if self._refused else None):
                        await self._wake.wait()
                continue
            await self._send(batches)

    def _gather(self) -> list[Batch]:
        batches: list[Batch] = []
        waiting, room = self._ready, CALL_BYTES
        if not waiting:
            waiting, room = {fid: self._refused.pop(fid) for fid in self._due()}, _PROBE_BYTES
        while waiting and room > 0:
            fid = next(iter(waiting))
            outbox = waiting.pop(fid)
            count, size = _count_fitting(outbox.lines, room)
            taken = outbox.lines[:count]
            del outbox.lines[:count]
            if outbox.lines:
                waiting[fid] = outbox  # at the end, so that others come before its next lines
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
                    outbox.used(status),
                )
            )
            outbox.next += count
        if waiting is not self._ready:
            self._refused.update(waiting)
        return batches

    def _due(self) -> list[str]:
        """Return the executions whose refused lines may be sent again now."""
        before = time.monotonic() - _LARGE_AGAIN_S
        return [
            fid
            for fid, outbox in self._refused.items()
            if not outbox.lines
            or len(outbox.lines[0]) <= CALL_BYTES
            or (outbox.refused_at or 0) <= before
        ]

    async def _send(self, batches: list[Batch]) -> None:
        acks = wire.decode_acks(await self._deliver(wire.encode_batches(batches)))
        # The last ones first: if an execution has two batches, the second follows a gap.
        for batch, ack in reversed(list(zip(batches, acks, strict=True))):
            if not batch.is_held(ack):
                self._take_back(batch)
        for batch, ack in zip(batches, acks, strict=True):
            if batch.is_held(ack):
                self._acknowledge(batch, closed=ack.closed)

    def _take_back(self, batch: Batch) -> None:
        """Put a refused batch back, before lines that were written meanwhile."""
        with self._lock:
            outbox = self._outboxes.get(batch.fid)
            if outbox is None or outbox.producer != batch.producer:
                self._forget(batch)
                return
            outbox.lines[:0] = batch.body.split(b"\n") if batch.count else []
            outbox.next = batch.first
            outbox.refused_at = time.monotonic()
            is_last = outbox.status is not None and outbox.status.is_final
            if batch.is_last == is_last:
                self._ready.pop(batch.fid, None)
                self._refused[batch.fid] = outbox
            # Otherwise its final status was set meanwhile, and last lines may be accepted.
            self._wake_writers()  # of others, which have more room now

    def _forget(self, batch: Batch) -> None:
        self._bytes -= _taken_bytes(batch)

    def _acknowledge(self, batch: Batch, *, closed: bool) -> None:
        fid = batch.fid
        with self._lock:
            self._forget(batch)
            outbox = self._outboxes.get(fid)
            if outbox is None or outbox.producer != batch.producer:
                # A call may have two batches of one execution, and the first closed it. Or the
                # batch is of an earlier attempt.
                self._make_room()
                return
            if not closed:
                outbox.acked = batch.first + batch.count - 1
            committed = outbox.acked
            outbox.bytes -= _taken_bytes(batch)
            if batch.count:
                outbox.refused_at = None
            if self._refused and batch.count and not batch.is_last:
                # There is room again, so they no longer let others go first.
                for due in self._due():
                    self._ready[due] = self._refused.pop(due)
            if closed or (batch.status is not None and batch.status.is_final):
                del self._outboxes[fid]
                self._close(outbox)
            self._make_room()
        outbox.wake_waiters(committed=committed)
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
        if self._bytes <= ROOM_BYTES or self._bytes - self._refused_bytes() <= ROOM_BYTES:
            self._wake_writers()

    def _wake_writers(self) -> None:
        self._room.notify_all()
        waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_wake_up, future)
            except RuntimeError:
                continue  # that loop is closed, so its writer is gone


def _taken_bytes(batch: Batch) -> int:
    """Return what `_take` has counted of a batch: not the separators between its lines."""
    return len(batch.body) - max(0, batch.count - 1)


def _wake_up(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _result(future: concurrent.futures.Future[T]) -> T:
    """Wait for a future, in a thread that may be cancelled meanwhile."""
    if (mine := fence.here()) and mine.is_due:
        future.cancel()  # `forget_questions` may have been called before this future was made
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise asyncio.CancelledError from None


def _count_fitting(lines: list[bytes], room: int) -> tuple[int, int]:
    """Return how many lines fit into `room` bytes (at least one), and their size."""
    # There may be very many lines: look only at as many as could fit.
    ends = list(accumulate(map(len, lines[: room // _LEAST_BYTES + 1])))
    if not ends:
        return 0, 0
    count = max(1, bisect_right(ends, room))
    return count, ends[count - 1] + count
