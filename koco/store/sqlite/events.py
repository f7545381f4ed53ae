"""SQL for events and their effects on an execution. Runs in the writer's thread.

Events without room wait with their producer. If waiting cannot help, they are cut: beyond an
execution's limit, and for an execution that is to end while the disk is full. Cut events are
counted, and the stream says so.
"""

import math
import sqlite3
import time
from typing import Any, NamedTuple

import msgspec

from koco.errors import ConflictError, LimitError, NotFoundError
from koco.events import line
from koco.events.model import FINAL, Ack, Batch, Kind, Status
from koco.store.model import MB, Chunk, Policy, Room

#: Executions that have not ended. Phrased for an index, because there may be a million that have.
IS_OPEN = f"status IN ({', '.join(repr(each.value) for each in Status if each not in FINAL)})"

#: The statuses from which a batch may move an execution to each status.
_REACHED_FROM = {
    Status.STARTING: {Status.QUEUED},
    Status.QUEUED: {Status.STARTING},
    # Batches do not lead to `awaiting` or back, because that depends on open locks.
    Status.RUNNING: {Status.STARTING},
    Status.AWAITING: set(),
}

#: Kinds of events with an execution's outcome.
_OUTCOMES = {Kind.FINAL.encode(), Kind.ERROR.encode()}

#: A batch that ends an execution is accepted up to this size even without room (bytes). It is more
#: than a runner sends in one call, except for a single large event.
_FINAL_BYTES = 128 * 1024
#: An execution may write this much although the reserve is in use (bytes). Most write less, and
#: should not wait because one execution filled the disk.
_LITTLE_BYTES = 64 * 1024
#: The approximate amount that is removed in one transaction (bytes).
_REMOVED_BYTES = MB


class State(NamedTuple):
    """The facts about an execution that decide what happens to a batch."""

    id: int
    status: Status
    last_seq: int
    runner: str
    attempt: int
    policy: str | None
    is_cancelled: bool
    is_timed_out: bool
    event_bytes: int
    cut_events: int
    cut_bytes: int

    @property
    def is_ending(self) -> bool:
        """Whether its cancellation was requested or its deadline has passed."""
        return bool(self.is_cancelled or self.is_timed_out)


def state(db: sqlite3.Connection, fid: str) -> State | None:
    """Return an execution's state, or None if there is none."""
    row = db.execute(
        "SELECT id, status, last_seq, runner, attempt, policy, cancel_requested IS NOT NULL,"
        " timed_out IS NOT NULL, event_bytes, cut_events, cut_bytes"
        " FROM executions WHERE fid = ?",
        (fid,),
    ).fetchone()
    return State(row[0], Status(row[1]), *row[2:]) if row else None


def policy_of(stored: str | None) -> Policy:
    """Return an execution's policy."""
    return msgspec.json.decode(stored, type=Policy) if stored else Policy()


def open_state(db: sqlite3.Connection, fid: str, *, refusal: str) -> State:
    """Return the state of an execution that has not ended. `refusal` is appended to the error.

    Raises:
        NotFoundError: there is no such execution.
        ConflictError: it has ended.
    """
    now = state(db, fid)
    if now is None:
        raise NotFoundError(f"no execution {fid}")
    if now.status.is_final:
        raise ConflictError(f"execution {fid} has ended ({now.status}){refusal}")
    return now


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


def append(
    db: sqlite3.Connection,
    batch: Batch,
    *,
    room: Room = Room.AMPLE,
    most_bytes: float = math.inf,
) -> Ack:
    """Commit the new part of a batch; see `Store.append`."""
    now = state(db, batch.fid)
    if now is None or now.status.is_final or not _is_of(batch, now):
        return Ack(0, closed=True)
    held = db.execute(
        "SELECT last FROM producers WHERE execution = ? AND producer = ?", (now.id, batch.producer)
    ).fetchone()
    last = held[0] if held else 0
    if batch.first > last + 1:
        return Ack(last)
    if _waits(batch, now, room):
        return Ack(last)
    is_cut = room is not Room.AMPLE and now.is_ending
    seen = min(last + 1 - batch.first, batch.count)
    lines = batch.body.split(b"\n", seen)[seen:] if batch.count else []
    count = batch.count - seen
    if count:
        last += count
        db.execute(
            "INSERT INTO producers VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last = excluded.last",
            (now.id, batch.producer, last),
        )
    body = lines[0] if lines else b""
    # Once cut, it stays cut, so that the missing events are one gap, which the stream reports.
    if count and (is_cut or now.cut_events or now.event_bytes + len(body) > most_bytes):
        why = _DISK if is_cut else _LIMIT.format(most_bytes / MB)
        now, body, count = _cut(db, now, body, count, is_end=bool(batch.status), why=why)
    if batch.status and _may_reach(now.status, batch.status):
        if batch.status is Status.ERROR and _tries_again(now, because_of_error=True):
            _retry(db, now, body, count)
        else:
            _end(db, now, batch.status, body, count)
    elif count:
        _add(db, now, body, count)
    return Ack(last)


def _waits(batch: Batch, now: State, room: Room) -> bool:
    """Whether there is no room for a batch now, so that its producer keeps it."""
    if room is Room.AMPLE or not batch.count:
        return False
    if batch.status is not None:
        outcome = batch.body[batch.body.rfind(b"\n") + 1 :]
        kept = outcome if now.is_ending else batch.body
        return room is Room.NONE and len(kept) > _FINAL_BYTES
    if now.is_ending:
        return False  # it is cut, because ending it may make room
    is_little = now.event_bytes + len(batch.body) <= _LITTLE_BYTES
    return not (room is Room.LOW and (batch.is_last or is_little))


#: Texts for the stream of a cut execution: at the cut, and before its end.
_LIMIT = "koco: the events of this execution have reached max_events_mb, {:,g}: no more are kept"
_DISK = (
    "koco: this execution is to end, and the control plane's disk is full: no more events are kept"
)
_TOLD = "koco: {:,} events of this execution, {:,.1f} MB, were not kept"


def _cut(
    db: sqlite3.Connection, now: State, body: bytes, count: int, *, is_end: bool, why: str
) -> tuple[State, bytes, int]:
    """Count the events of a batch that are cut; return the new state and the kept lines: its
    outcome.
    """
    head, _, last = body.rpartition(b"\n")
    is_kept = is_end and line.kind_of(last) in _OUTCOMES
    cut, size = (count - 1, len(head)) if is_kept else (count, len(body))
    if not cut:
        return now, body, count
    is_first = not now.cut_events
    db.execute(
        "UPDATE executions SET cut_events = cut_events + ?, cut_bytes = cut_bytes + ? WHERE id = ?",
        (cut, size, now.id),
    )
    now = now._replace(cut_events=now.cut_events + cut, cut_bytes=now.cut_bytes + size)
    lines = [line.encode(Kind.STDERR, why)] if is_first else []
    lines += [last] if is_kept else []
    return now, b"\n".join(lines), len(lines)


def _is_of(batch: Batch, now: State) -> bool:
    """Whether a batch comes from the execution's current runner and attempt."""
    is_of_runner = not batch.runner or batch.runner == now.runner
    return is_of_runner and (not batch.attempt or batch.attempt == now.attempt)


def advance(db: sqlite3.Connection, fid: str, status: Status) -> bool:
    """Move an execution to a status, with its event; False if it cannot reach that status from
    here.
    """
    now = state(db, fid)
    if now is None or not _may_reach(now.status, status):
        return False
    _advance(db, now, status, b"", 0)
    return True


def settle(db: sqlite3.Connection, fid: str, status: Status, error: dict[str, Any] | None) -> bool:
    """End an execution from outside; see `Store.settle`."""
    now = state(db, fid)
    if now is None or now.status.is_final:
        return False
    body = line.encode(Kind.ERROR, error) if error else b""
    _end(db, now, status, body, 1 if error else 0)
    return True


def lose(db: sqlite3.Connection, fid: str, runner: str, error: dict[str, Any]) -> bool:
    """End an execution whose runner died, or queue its next attempt; see `Store.lose`."""
    now = state(db, fid)
    if now is None or now.status.is_final or now.runner != runner:
        return False
    body = line.encode(Kind.ERROR, error)
    if now.is_ending:
        _end(db, now, Status.CANCELLED, b"", 0)
    elif _tries_again(now):
        _retry(db, now, body, 1)
    else:
        _advance(db, now, Status.ERROR, body, 1)
    return True


def time_out(db: sqlite3.Connection, now_s: float) -> list[str]:
    """Mark overdue executions as timed out; return their fids."""
    rows = db.execute(
        "UPDATE executions SET timed_out = ?, deadline = NULL WHERE deadline <= ? RETURNING fid",
        (line.timestamp(now_s), now_s),
    )
    return [fid for (fid,) in rows.fetchall()]


def next_deadline(db: sqlite3.Connection) -> float | None:
    """Return the next deadline of an execution (seconds since the epoch)."""
    row = db.execute("SELECT min(deadline) FROM executions WHERE deadline IS NOT NULL").fetchone()
    found: float | None = row[0]
    return found


def tell(
    db: sqlite3.Connection, now: State, lines: list[bytes], status: Status | None = None
) -> None:
    """Add koco's own events and, if given, the execution's next status, in one row."""
    body, count = b"\n".join(lines), len(lines)
    if status is None:
        _add(db, now, body, count)
    else:
        _advance(db, now, status, body, count)


def _may_reach(now: Status, status: Status) -> bool:
    return status.is_final or now in _REACHED_FROM[status]


def _tries_again(now: State, *, because_of_error: bool = False) -> bool:
    """Whether another attempt follows a failed one. Never if the execution is to end."""
    policy = policy_of(now.policy)
    if because_of_error and not policy.retry_errors:
        return False
    return now.attempt <= policy.retries and not now.is_ending


def _end(db: sqlite3.Connection, now: State, status: Status, body: bytes, count: int) -> None:
    """Advance to a final status. An execution cancelled at its deadline ends with that error."""
    if status is Status.CANCELLED and now.is_timed_out and not now.is_cancelled:
        timeout_s = policy_of(now.policy).timeout_s or 0
        said = f"it ran for longer than its limit, limits.timeout: {timeout_s:g} s"
        error = line.encode(Kind.ERROR, {"type": "TimedOut", "message": said, "traceback": ""})
        body = b"\n".join((body, error)) if count else error
        status, count = Status.ERROR, count + 1
    _advance(db, now, status, body, count)


def _retry(db: sqlite3.Connection, now: State, body: bytes, count: int) -> None:
    """Queue an execution again after a failed attempt, with the events that the attempt left.

    The execution has no runner then, so its previous runner cannot write to it.
    """
    policy, at_s = policy_of(now.policy), time.time()
    not_before = at_s + policy.pause_s(now.attempt)
    lines = [body] if count else []
    for lid, name in db.execute(
        "UPDATE locks SET status = 'withdrawn', settled = ?"
        " WHERE execution = ? AND status = 'open' RETURNING lid, name",
        (line.timestamp(at_s), now.id),
    ).fetchall():
        lines.append(line.encode(Kind.LEASE, {"lid": lid, "name": name, "outcome": "withdrawn"}))
        count += 1
    told = {
        "status": Status.QUEUED,
        "attempt": now.attempt + 1,
        "not_before": line.timestamp(not_before),
    }
    lines.append(line.encode(Kind.STATUS, told))
    _add(db, now, b"\n".join(lines), count + 1)
    db.execute(
        "UPDATE executions SET status = 'queued', runner = '', attempt = attempt + 1,"
        " not_before = ?, deadline = NULL, left_s = ? WHERE id = ?",
        (not_before, policy.timeout_s, now.id),
    )


def _advance(db: sqlite3.Connection, now: State, status: Status, body: bytes, count: int) -> None:
    """Add the given lines, then the status event, and set the status: one step, one row."""
    if status.is_final and now.cut_events:
        # It comes first, because an outcome must be the last event before the status.
        said = line.encode(Kind.STDERR, _TOLD.format(now.cut_events, now.cut_bytes / MB))
        body, count = (b"\n".join((said, body)), count + 1) if count else (said, 1)
    event = line.encode(Kind.STATUS, {"status": status})
    _add(db, now, b"\n".join((body, event)) if count else event, count + 1)
    if not status.is_final:
        at_s = time.time()
        runs_s = at_s if status is Status.RUNNING else None
        # The deadline only runs while the execution runs, not while it awaits a person.
        db.execute(
            "UPDATE executions SET status = ?, started = coalesce(started, ?),"
            " left_s = coalesce(deadline - ?, left_s),"
            " deadline = ? + coalesce(deadline - ?, left_s) WHERE id = ?",
            (status, line.timestamp(at_s) if runs_s else None, at_s, runs_s, at_s, now.id),
        )
        return
    last = body[body.rfind(b"\n") + 1 :]
    kind = line.kind_of(last) if count else b""
    db.execute(
        "UPDATE executions SET status = ?, finished = ?, outcome_seq = ?, error = ?,"
        " deadline = NULL WHERE id = ?",
        (
            status,
            line.timestamp(),
            now.last_seq + count if kind in _OUTCOMES else None,
            _brief(last) if kind == Kind.ERROR.encode() else None,
            now.id,
        ),
    )
    db.execute(
        "UPDATE locks SET status = 'withdrawn', settled = ?"
        " WHERE execution = ? AND status = 'open'",
        (line.timestamp(), now.id),
    )
    # No producer may write any more, so their positions are not needed.
    db.execute("DELETE FROM producers WHERE execution = ?", (now.id,))


def _brief(event: bytes) -> str:
    """Return an error event's type and message, because lists have no room for a traceback."""
    payload = line.decode(1, event).get("payload")
    told = payload if isinstance(payload, dict) else {}
    brief = {key: str(told.get(key, "")) for key in ("type", "message")}
    return line.encode_payload(brief).decode()


def _add(db: sqlite3.Connection, now: State, body: bytes, count: int) -> None:
    last = now.last_seq + count
    db.execute(
        "INSERT INTO chunks (execution, first, last, body) VALUES (?, ?, ?, ?)",
        (now.id, now.last_seq + 1, last, body),
    )
    db.execute(
        "UPDATE executions SET last_seq = ?, event_bytes = event_bytes + ? WHERE id = ?",
        (last, len(body), now.id),
    )


def _within(rows: sqlite3.Cursor, budget_bytes: int) -> list[Chunk]:
    chunks: list[Chunk] = []
    for first, last, body in rows:
        chunks.append(Chunk(first, last, body))
        budget_bytes -= len(body)
        if budget_bytes <= 0:
            break
    rows.close()
    return chunks


def after(db: sqlite3.Connection, execution: int, seq: int, budget_bytes: int) -> list[Chunk]:
    """Return chunks with events after a seq; see `Store.chunks`."""
    rows = db.execute(
        "SELECT first, last, body FROM chunks WHERE execution = ? AND last > ? ORDER BY last",
        (execution, seq),
    )
    return _within(rows, budget_bytes)


def parts_after(
    db: sqlite3.Connection, execution: int, seq: int, *, budget_bytes: int, offset: int
) -> list[Chunk]:
    """Return chunks with events after a seq, within a budget; see `Store.chunks`."""
    rows = db.execute(
        "SELECT id, first, last, length(body), CASE WHEN length(body) <= ? THEN body END"
        " FROM chunks WHERE execution = ? AND last > ? ORDER BY last",
        (budget_bytes, execution, seq),
    )
    chunks: list[Chunk] = []
    for number, first, last, size_bytes, body in rows:
        if body is None and not chunks:
            chunks.append(Chunk(first, last, _read(db, number, offset, budget_bytes), size_bytes))
        budget_bytes -= size_bytes
        if budget_bytes < 0:
            break
        chunks.append(Chunk(first, last, body))
    rows.close()
    return chunks


def _read(db: sqlite3.Connection, number: int, offset: int, size_bytes: int) -> bytes:
    """Return a part of a chunk's body, without reading the rest."""
    with db.blobopen("chunks", "body", number, readonly=True) as blob:
        blob.seek(offset)
        return blob.read(size_bytes)


def before(db: sqlite3.Connection, execution: int, seq: int, budget_bytes: int) -> list[Chunk]:
    """Return chunks with events before a seq, latest first; see `Store.chunks_back`."""
    rows = db.execute(
        "SELECT first, last, body FROM chunks WHERE execution = ? AND last < ? ORDER BY last DESC",
        (execution, seq),
    )
    return _within(rows, budget_bytes)


def remove(db: sqlite3.Connection, execution: int, count: int) -> bool:
    """Remove up to a number of an execution's first batches; say whether those were all.

    Fewer if they are large, because SQLite may write all of them to its log once more, as zeros.
    """
    rows = db.execute(
        "SELECT last, length(body) FROM chunks WHERE execution = ? ORDER BY last LIMIT ?",
        (execution, count),
    ).fetchall()
    last, left = 0, _REMOVED_BYTES
    for last, size in rows:  # noqa: B007 - the last one that is removed
        left -= size
        if left <= 0:
            break
    db.execute("DELETE FROM chunks WHERE execution = ? AND last <= ?", (execution, last))
    return len(rows) < count and last == (rows[-1][0] if rows else 0)
