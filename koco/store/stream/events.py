"""Executions' streams of events.

Events without room wait with their producer. If waiting cannot help, they are cut: beyond an
execution's limit, and for an execution that is to end while the disk is full. Cut events are
counted, and the stream says so.
"""

import math
from collections.abc import Sequence

from koco.errors import LimitError
from koco.events import line, progress
from koco.events.model import Kind, Status
from koco.events.wire import Ack, Batch
from koco.sizes import MB
from koco.store.engine.protocol import Connection, Rows
from koco.store.model import Chunk, Recorded, Room
from koco.store.sql.repository import Repository
from koco.store.sql.table import to_json
from koco.store.stream import ledger, lifecycle, recording
from koco.store.stream.ledger import Lines, State
from koco.store.stream.lifecycle import OUTCOMES

#: A batch that ends an execution is accepted up to this size even without room (bytes). It is more
#: than a runner sends in one call, except for a single large event.
_FINAL_BYTES = 128 * 1024
#: An execution may write this much although the reserve is in use (bytes). Most write less, and
#: should not wait because one execution filled the disk.
_LITTLE_BYTES = 64 * 1024
#: The approximate amount that is removed in one transaction (bytes), and the most batches. The next
#: launch waits for it.
_REMOVED_BYTES = MB
_REMOVED_CHUNKS = 100

#: The texts at the cut of a stream.
_LIMIT = "koco: the events of this execution have reached max_events_mb, {:,g}: no more are kept"
_DISK = (
    "koco: this execution is to end, and the control plane's disk is full: no more events are kept"
)

_CHUNKS = "SELECT first, last, body FROM chunks WHERE execution = :execution"


class Events(Repository):
    """Streams of events, in chunks."""

    async def append(
        self,
        batches: list[Batch],
        *,
        records: Sequence[Sequence[Recorded]] = (),
        room: Room = Room.AMPLE,
        most_bytes: float = math.inf,
    ) -> list[Ack]:
        """Commit batches in their order, each event once; return the last seq held of each
        producer.

        A batch that would leave a gap is refused whole. Events that are already stored are
        dropped. A batch's status takes effect in the same transaction as its events.

        `records` has the records of steps of each batch, in the order of the batches; empty means
        that there are none. They are committed with the events that they came with, even if those
        are cut. A recorded outcome is never replaced.

        A batch that has no `room` is refused as well, and its producer sends it again. Two kinds
        of executions are cut instead: those that are to end while there is no room, and those that
        have `most_bytes` of events. A cut stream says so, and still gets its outcome.

        Raises:
            NoRoomError: the disk is full even so.
        """
        recorded = records or [()] * len(batches)
        return await self._engine.write(
            lambda db: [
                _append(db, batch, room, most_bytes, its)
                for batch, its in zip(batches, recorded, strict=True)
            ],
            grows=room is not Room.NONE,
        )

    async def after(
        self, execution: int, seq: int, *, budget_bytes: int, offset: int | None = None
    ) -> list[Chunk]:
        """Return events after a seq, in order: at least one chunk, then up to the budget.

        With an `offset` (bytes), never more than the budget: a larger chunk comes alone, and only
        the part that begins at the offset.
        """
        if offset is None:
            return await self._read(lambda db: after(db, execution, seq, budget_bytes))
        return await self._read(lambda db: _parts_after(db, execution, seq, budget_bytes, offset))

    async def before(self, execution: int, seq: int, *, budget_bytes: int) -> list[Chunk]:
        """Return events before a seq, latest chunk first, up to the budget."""
        query = f"{_CHUNKS} AND last < :seq ORDER BY last DESC"
        values = {"execution": execution, "seq": seq}
        return await self._read(lambda db: _within(db.iterate(query, values), budget_bytes))


def require_room(now: State, most_bytes: float) -> None:
    """Refuse further events of an execution that has reached its limit.

    Raises:
        LimitError: the limit is reached.
    """
    if now.event_bytes > most_bytes:
        raise LimitError(
            f"its events have reached max_events_mb, {most_bytes / MB:,g}",
            hint="write less: large data can be a file",
        )


def after(db: Connection, execution: int, seq: int, budget_bytes: int) -> list[Chunk]:
    """Return chunks with events after a seq."""
    query = f"{_CHUNKS} AND last > :seq ORDER BY last"
    return _within(db.iterate(query, {"execution": execution, "seq": seq}), budget_bytes)


def remove_some(db: Connection, execution: int) -> bool:
    """Remove some of an execution's first batches; say whether those were all.

    Fewer if they are large, because SQLite may write all of them to its log once more, as zeros.
    """
    rows = db.execute(
        "SELECT last, length(body) FROM chunks WHERE execution = :execution ORDER BY last"
        " LIMIT :most",
        {"execution": execution, "most": _REMOVED_CHUNKS},
    ).fetchall()
    last, left = 0, _REMOVED_BYTES
    for last, size in rows:  # noqa: B007 - the last one that is removed
        left -= size
        if left <= 0:
            break
    db.execute(
        "DELETE FROM chunks WHERE execution = :execution AND last <= :last",
        {"execution": execution, "last": last},
    )
    return len(rows) < _REMOVED_CHUNKS and last == (rows[-1][0] if rows else 0)


def _append(
    db: Connection, batch: Batch, room: Room, most_bytes: float, records: Sequence[Recorded]
) -> Ack:
    """Commit the new part of a batch."""
    now = ledger.state(db, batch.fid)
    if now is None or now.status.is_final or not _is_of(batch, now):
        return Ack(0, closed=True)
    held = db.execute(
        "SELECT last FROM producers WHERE execution = :id AND producer = :producer",
        {"id": now.id, "producer": batch.producer},
    ).fetchone()
    last = held[0] if held else 0
    if batch.first > last + 1 or _must_wait(batch, now, room, records):
        return Ack(last)
    events = _unseen(batch, last)
    if events.total:
        db.touched.add(now.fid)
        if records:
            recording.record(db, now.id, records, seen=batch.count - events.total)
        last += events.total
        db.execute(
            "INSERT INTO producers (execution, producer, last) VALUES (:id, :producer, :last)"
            " ON CONFLICT (execution, producer) DO UPDATE SET last = excluded.last",
            {"id": now.id, "producer": batch.producer, "last": last},
        )
        is_cut = room is not Room.AMPLE and now.is_ending
        # Once cut, it stays cut, so that the missing events are one gap, which the stream reports.
        if is_cut or now.cut_events or now.event_bytes + len(events.body) > most_bytes:
            reason = _DISK if is_cut else _LIMIT.format(most_bytes / MB)
            now, events = _cut(db, now, events, is_end=bool(batch.status), reason=reason)
        _note_progress(db, now, events)
    if batch.used is not None:
        ledger.note_used(db, now, batch.used)
    if batch.status and lifecycle.may_reach(now.status, batch.status):
        if batch.status is Status.ERROR and lifecycle.tries_again(now, because_of_error=True):
            lifecycle.retry(db, now, events, because_of_error=True)
        else:
            lifecycle.end(db, now, batch.status, events)
    elif events.total:
        lifecycle.add(db, now, events)
    return Ack(last)


def _note_progress(db: Connection, now: State, events: Lines) -> None:
    """Keep what the flow says last of its progress in the row of its execution."""
    text = line.last_of_kind(Kind.PROGRESS, events.body)
    if text is not None and (found := progress.read(line.payload_of(text))) is not None:
        db.execute(
            "UPDATE executions SET progress = :progress WHERE id = :id",
            {"progress": to_json(found), "id": now.id},
        )


def _is_of(batch: Batch, now: State) -> bool:
    """Whether a batch comes from the execution's current runner and attempt."""
    is_of_runner = not batch.runner or batch.runner == now.runner
    return is_of_runner and (not batch.attempt or batch.attempt == now.attempt)


def _unseen(batch: Batch, last: int) -> Lines:
    """Return the events of a batch that come after the last one held."""
    seen = min(last + 1 - batch.first, batch.count)
    if batch.count == seen:
        return ledger.NONE
    return Lines(batch.body.split(b"\n", seen)[seen], batch.count - seen)


def _must_wait(batch: Batch, now: State, room: Room, records: Sequence[Recorded]) -> bool:
    """Whether there is no room for a batch now, so that its producer keeps it."""
    if room is Room.AMPLE or not batch.count:
        return False
    if batch.status is not None:
        outcome = batch.body[batch.body.rfind(b"\n") + 1 :]
        kept = outcome if now.is_ending else batch.body
        return room is Room.NONE and len(kept) > _FINAL_BYTES
    if now.is_ending:
        return False  # it is cut, because ending it may make room
    size_bytes = len(batch.body) + sum(len(each.record.result or b"") for each in records)
    is_little = now.event_bytes + size_bytes <= _LITTLE_BYTES
    return not (room is Room.LOW and (batch.is_last or is_little))


def _cut(
    db: Connection, now: State, events: Lines, *, is_end: bool, reason: str
) -> tuple[State, Lines]:
    """Count events that are cut; return the new state and the kept events: the outcome."""
    outcome = events.last if is_end and line.kind_of(events.last) in OUTCOMES else None
    cut, size = events.total, len(events.body)
    if outcome is not None:
        cut, size = cut - 1, max(0, size - len(outcome) - 1)
    if not cut:
        return now, events
    is_first = not now.cut_events
    db.execute(
        "UPDATE executions SET cut_events = cut_events + :cut, cut_bytes = cut_bytes + :size"
        " WHERE id = :id",
        {"cut": cut, "size": size, "id": now.id},
    )
    now = now._replace(cut_events=now.cut_events + cut, cut_bytes=now.cut_bytes + size)
    kept = [line.encode(Kind.STDERR, reason)] if is_first else []
    return now, ledger.lines(*kept, *([outcome] if outcome is not None else []))


def _within(rows: Rows, budget_bytes: int) -> list[Chunk]:
    """Return chunks until the budget is spent."""
    chunks: list[Chunk] = []
    for first, last, body in rows:
        chunks.append(Chunk(first, last, body))
        budget_bytes -= len(body)
        if budget_bytes <= 0:
            break
    rows.close()
    return chunks


def _parts_after(
    db: Connection, execution: int, seq: int, budget_bytes: int, offset: int
) -> list[Chunk]:
    """Return chunks with events after a seq within the budget, or a part of the first one."""
    rows = db.iterate(
        "SELECT id, first, last, length(body), CASE WHEN length(body) <= :budget THEN body END"
        " FROM chunks WHERE execution = :execution AND last > :seq ORDER BY last",
        {"budget": budget_bytes, "execution": execution, "seq": seq},
    )
    chunks: list[Chunk] = []
    for number, first, last, size_bytes, body in rows:
        if body is None and not chunks:
            part = db.dialect.read_part(db, number, offset=offset, size_bytes=budget_bytes)
            chunks.append(Chunk(first, last, part, size_bytes))
        budget_bytes -= size_bytes
        if budget_bytes < 0:
            break
        chunks.append(Chunk(first, last, body))
    rows.close()
    return chunks
