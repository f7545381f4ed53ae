"""Events: into the store in batches, out to every reader in order.

A batch is committed before it is acknowledged, and acknowledged before readers wake, so an event
that a follower has seen is never lost. Readers are woken and need not poll.

If the disk is nearly full, events wait: a batch without room is not acknowledged, so its runner
keeps it, and in the end the flow that writes it waits. Other batches of the same call do not wait.
"""

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

from koco.control.events import event_size
from koco.control.events.batch_checks import fault_of
from koco.control.events.chunk_reader import READ_BYTES, Piece, Pieces, Place, Wanted
from koco.control.events.step_records import StepRecords
from koco.control.settings import Settings
from koco.control.storage.disk import Disk
from koco.errors import KocoError, NoRoomError, NotFoundError
from koco.events import line, wire
from koco.events.model import Status
from koco.events.wire import Ack, Batch
from koco.sizes import MB
from koco.store.model import Execution, FailureEvent, Recorded, Room
from koco.store.store import Store

log = logging.getLogger(__name__)

#: Stands for every execution in `watch`.
ANY = ""

#: How long a call without room for any event is held before its runner must try again, and how
#: often the room is checked meanwhile (seconds).
_HELD_S = 0.25
_LOOK_S = 0.125
#: How long after a refusal the events of an execution count as waiting (seconds).
_WAITS_S = 5.0
#: Why events wait that are large enough to reach the reserve, while others do not.
_NEARLY_FULL = "the control plane's disk is nearly full (disk_reserve_mb): events wait"


class Bell(Protocol):
    """Is rung whenever there is more of an execution: an `asyncio.Event`, for example."""

    def set(self) -> None:
        """Note that there is more."""
        ...


class _Checked(NamedTuple):
    """A batch as it is stored, and the steps that it records."""

    batch: Batch
    records: Sequence[Recorded]


class Spooler:
    """Makes events durable and passes them to readers."""

    def __init__(
        self,
        store: Store,
        settings: Settings | None = None,
        *,
        disk: Disk | None = None,
        records: StepRecords | None = None,
    ) -> None:
        """If `disk` is None, there is always room."""
        #: Called with the fid of each execution whose runner reports its end; set by the
        #: supervisor.
        self.on_final: Callable[[str], None] = lambda fid: None
        #: Called with the fid of each execution of which outcomes of steps are recorded; set by
        #: the supervisor.
        self.on_outcome: Callable[[str], None] = lambda fid: None
        #: How many events have arrived since the start.
        self.appended = 0
        self._store = store
        self._settings = settings or Settings()
        self._disk = disk
        self._records = records or StepRecords(store, self._settings)
        #: When the events of an execution were last refused, and why, by fid.
        self._refused: dict[str, tuple[float, str]] = {}
        self._pieces = Pieces(store)
        self._readers: dict[str, set[Bell]] = defaultdict(set)
        self._is_dismissed = False

    async def append(self, blob: bytes) -> bytes:
        """Commit encoded batches; return their encoded acknowledgements.

        A batch without room is not acknowledged, so the runner sends it again (see
        `Batch.is_held`). An invalid batch is refused, and nothing more is accepted from its
        producer.
        """
        sent = wire.decode_batches(blob)
        faults: dict[int, str] = {}
        sound: list[_Checked] = []
        for at, batch in enumerate(sent):
            checked = await self._check(batch)
            if isinstance(checked, str):
                faults[at] = checked
            else:
                sound.append(checked)
        acks = await self._append(sound) if sound else []
        for at, fault in faults.items():
            await self._refuse(sent[at], fault)
            acks.insert(at, Ack(0, closed=True))
        return wire.encode_acks(acks)

    async def _check(self, batch: Batch) -> _Checked | str:
        """Return a batch as it is stored, with its recorded steps; or its fault."""
        if fault := fault_of(batch):
            return fault
        try:
            batch, records = await self._records.take(batch)
        except NotFoundError:
            records = []  # its execution was deleted, which the store will say
        except ValueError as exc:
            return f"the record of a step is invalid: {exc}"
        except KocoError as exc:
            return f"a step could not be recorded: {exc.message}"
        return _Checked(event_size.fitting(batch, self._settings), records)

    async def _refuse(self, batch: Batch, fault: str) -> None:
        """Refuse an invalid batch; if the execution's own runner sent it, end the execution."""
        log.warning("a batch of %s from %r is refused: %s", batch.fid, batch.producer, fault)
        try:
            now = await self._store.executions.get(batch.fid)
        except NotFoundError:
            return
        if batch.runner and batch.runner == now.runner and not now.status.is_final:
            text = f"its process sent an invalid batch of events: {fault}"
            error = FailureEvent(type="BadEvents", message=text)
            if await self._store.executions.settle(batch.fid, Status.ERROR, error):
                self.wake(batch.fid)
                self.on_final(batch.fid)

    async def _append(self, checked: list[_Checked]) -> list[Ack]:
        async with self._records.stored(checked) as stored:
            acks = await self._commit_stored([each.batch for each in checked], stored)
        for (batch, its), ack in zip(checked, acks, strict=True):
            if not batch.is_held(ack):
                continue
            if any(each.record.status.is_final for each in its):
                self.on_outcome(batch.fid)
            self.appended += batch.count
            self.wake(batch.fid)
            # A closed runner is not wanted any more. Another one may have the next attempt.
            if batch.status is not None and batch.status.is_final and not ack.closed:
                self._refused.pop(batch.fid, None)
                self.on_final(batch.fid)
        return acks

    async def _commit_stored(
        self, batches: list[Batch], stored: Sequence[Sequence[Recorded] | KocoError]
    ) -> list[Ack]:
        """Commit the batches whose large results have room; refuse only the others."""
        acks = [Ack(0)] * len(batches)
        fitting: dict[int, Sequence[Recorded]] = {}
        for at, records in enumerate(stored):
            if isinstance(records, KocoError):
                is_full = isinstance(records, NoRoomError)
                waits = "waits for room" if is_full else "cannot be stored yet"
                why = f"the result of a step {waits}: {records.message}"
                self._note_refused(batches[at].fid, why)
            else:
                fitting[at] = records
        if fitting:
            of_fitting = [batches[at] for at in fitting]
            committed = await self._commit_when_possible(of_fitting, list(fitting.values()))
            for at, ack in zip(fitting, committed, strict=True):
                acks[at] = ack
        return acks

    async def _commit_when_possible(
        self, batches: list[Batch], records: Sequence[Sequence[Recorded]]
    ) -> list[Ack]:
        """Commit the batches that there is room for; if there is none, wait a while for it."""
        until = time.monotonic() + _HELD_S
        while True:
            acks, room = await self._commit_fitting(batches, records)
            if room is Room.AMPLE:
                return acks
            if any(map(Batch.is_held, batches, acks)) or time.monotonic() >= until:
                why = (self._disk and self._disk.trouble) or _NEARLY_FULL
                for batch, ack in zip(batches, acks, strict=True):
                    if not batch.is_held(ack):
                        self._note_refused(batch.fid, why)
                return acks
            await asyncio.sleep(_LOOK_S)

    async def _commit_fitting(
        self, batches: list[Batch], records: Sequence[Sequence[Recorded]]
    ) -> tuple[list[Ack], Room]:
        """Commit the batches that there is room for; return how much room there was."""

        async def commit(room: Room) -> tuple[list[Ack], Room]:
            acks = await self._store.events.append(
                batches, records=records, room=room, most_bytes=self.most_bytes
            )
            return acks, room

        if self._disk is None:
            return await commit(Room.AMPLE)
        results = (each.record.result or b"" for of_batch in records for each in of_batch)
        size_bytes = sum(len(batch.body) for batch in batches) + sum(map(len, results))
        room = self._disk.room(size_bytes)
        try:
            with self._disk.writing(size_bytes):
                return await commit(room)
        except NoRoomError:
            # The disk has filled up meanwhile, or has a quota: write final events only.
            return await commit(Room.NONE)

    def _note_refused(self, fid: str, why: str) -> None:
        now = time.monotonic()
        self._refused = {
            each: (at, its) for each, (at, its) in self._refused.items() if now - at < _WAITS_S
        }
        if not self._refused:
            log.warning("%s", why)
        self._refused[fid] = (now, why)

    @property
    def most_bytes(self) -> float:
        """How much is stored of one execution's events (bytes)."""
        return self._settings.max_events_mb * MB

    def why(self, fid: str) -> str | None:
        """Return why the events of an execution wait, or None if they do not."""
        at, why = self._refused.get(fid, (-math.inf, ""))
        return why if time.monotonic() - at < _WAITS_S else None

    def wake(self, fid: str) -> None:
        """Wake the readers of an execution, because there is more."""
        for event in (*self._readers.get(fid, ()), *self._readers.get(ANY, ())):
            event.set()

    def wake_all(self) -> None:
        """Let all readers look, because there may be more of any execution."""
        for fid in list(self._readers):
            self.wake(fid)

    def dismiss(self) -> None:
        """End all followers. They reconnect, and another control plane has more for them."""
        self._is_dismissed = True
        self.wake_all()

    @property
    def is_dismissed(self) -> bool:
        """Whether followers have been ended."""
        return self._is_dismissed

    def readers(self, fid: str) -> int:
        """Return how many readers watch an execution."""
        return len(self._readers.get(fid, ()))

    def watch(self, fid: str, event: Bell) -> None:
        """Set `event` whenever there is more of an execution."""
        self._readers[fid].add(event)

    def unwatch(self, fid: str, event: Bell) -> None:
        """Unsubscribe."""
        readers = self._readers.get(fid, set())
        readers.discard(event)
        if not readers:
            self._readers.pop(fid, None)

    async def read(
        self, execution: Execution, wanted: Wanted, *, since: int = 0, until: float = math.inf
    ) -> AsyncIterator[Piece]:
        """Yield the stored events after `since`, in order, in pieces.

        Ends after the last event, or once `until` has been yielded. Without `until` a reader may
        never reach the end, because a flow can write faster than it reads.
        """
        place = Place(since)
        while place.since < until:
            is_shared = len(self._readers.get(execution.fid, ())) > 1
            piece = await self._pieces.after(execution, place, wanted, is_shared=is_shared)
            if piece is None:
                return
            place = piece.place
            if not piece.data:
                await asyncio.sleep(0)  # unwanted events may go on for long
            yield piece

    async def tail(
        self, execution: Execution, count: int, *, kinds: frozenset[str] = frozenset()
    ) -> int:
        """Return the seq before the last `count` events of some kinds."""
        before = (await self._store.executions.get(execution.fid)).last_seq + 1
        if not kinds or not count:
            return max(0, before - 1 - count)
        while chunks := await self._store.events.before(
            execution.id, before, budget_bytes=READ_BYTES
        ):
            lines = chain.from_iterable(
                line.number_lines(chunk.first, chunk.body) for chunk in reversed(chunks)
            )
            found = [seq for seq, _ in line.filter_kinds(kinds, lines)]
            if len(found) >= count:
                return found[-count] - 1
            count -= len(found)
            before = chunks[-1].first
            await asyncio.sleep(0)  # it may be far back, and others need the loop
        return 0

    async def follow(
        self,
        execution: Execution,
        wanted: Wanted = Wanted(tells_end=True),  # noqa: B008 - it is immutable
        *,
        since: int = 0,
        heartbeat_s: float,
    ) -> AsyncIterator[bytes]:
        """Yield events as they are committed, until the final status has been yielded.

        If there are none for a while, a heartbeat is yielded.
        """
        event = asyncio.Event()
        self.watch(execution.fid, event)
        try:
            while True:
                # Cleared before reading, because a commit after that sets it again.
                event.clear()
                before = since
                async for data, place, ends in self.read(execution, wanted, since=since):
                    since = place.since
                    if data:
                        yield data
                    if ends:
                        return
                    data = b""  # noqa: PLW2901 - free the memory while it waits
                if since == before and await self._is_over(execution, since):
                    return  # the reader came back after it had seen the end
                if self._is_dismissed:
                    return
                try:
                    async with asyncio.timeout(heartbeat_s):
                        await event.wait()
                except TimeoutError:
                    yield wanted.form.heartbeat
        finally:
            self.unwatch(execution.fid, event)

    async def _is_over(self, execution: Execution, since: int) -> bool:
        now = await self._store.executions.get(execution.fid)
        return now.status.is_final and since >= now.last_seq
