"""SQL for events and for what they do to their execution. Runs in the writer's thread."""

import sqlite3
from typing import Any, NamedTuple

from koco.errors import ConflictError, NotFoundError
from koco.events import line
from koco.events.model import Ack, Batch, Kind, Status
from koco.store.model import Chunk

#: What a batch may do to an execution: from which statuses each status is reached.
_REACHED_FROM = {
    Status.STARTING: {Status.QUEUED},
    Status.QUEUED: {Status.STARTING},
    # To `awaiting` and back leads no batch: an execution awaits while it has an open lock.
    Status.RUNNING: {Status.STARTING},
    Status.AWAITING: set(),
}

#: Kinds whose event holds an execution's outcome.
_OUTCOMES = {Kind.FINAL.encode(), Kind.ERROR.encode()}


class State(NamedTuple):
    """What deciding about a batch needs to know of its execution."""

    id: int
    status: Status
    last_seq: int
    runner: str


def state(db: sqlite3.Connection, fid: str) -> State | None:
    """Return an execution's state, or None where there is none."""
    row = db.execute(
        "SELECT id, status, last_seq, runner FROM executions WHERE fid = ?", (fid,)
    ).fetchone()
    return State(row[0], Status(row[1]), row[2], row[3]) if row else None


def open_state(db: sqlite3.Connection, fid: str, *, refusal: str) -> State:
    """Return the state of an execution that has not ended; `refusal` ends what is said else.

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


def append(db: sqlite3.Connection, batch: Batch) -> Ack:
    """Commit what is new in a batch; see `Store.append`."""
    now = state(db, batch.fid)
    if now is None or now.status.is_final or (batch.runner and batch.runner != now.runner):
        return Ack(0, closed=True)
    held = db.execute(
        "SELECT last FROM producers WHERE execution = ? AND producer = ?", (now.id, batch.producer)
    ).fetchone()
    last = held[0] if held else 0
    if batch.first > last + 1:
        return Ack(last)
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
    if batch.status and _may_reach(now.status, batch.status):
        _advance(db, now, batch.status, body, count)
    elif count:
        _add(db, now, body, count)
    return Ack(last)


def advance(db: sqlite3.Connection, fid: str, status: Status) -> bool:
    """Move an execution to a status, with its event; False where that is no step from here."""
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
    _advance(db, now, status, body, 1 if error else 0)
    return True


def tell(
    db: sqlite3.Connection, now: State, lines: list[bytes], status: Status | None = None
) -> None:
    """Add events of koco's own and, where it moves, the execution's next status, in one row."""
    body, count = b"\n".join(lines), len(lines)
    if status is None:
        _add(db, now, body, count)
    else:
        _advance(db, now, status, body, count)


def _may_reach(now: Status, status: Status) -> bool:
    return status.is_final or now in _REACHED_FROM[status]


def _advance(db: sqlite3.Connection, now: State, status: Status, body: bytes, count: int) -> None:
    """Add the given lines, then the status event, and set the status: one step, one row."""
    event = line.encode(Kind.STATUS, {"status": status})
    _add(db, now, b"\n".join((body, event)) if count else event, count + 1)
    if not status.is_final:
        started = line.timestamp() if status is Status.RUNNING else None
        db.execute(
            "UPDATE executions SET status = ?, started = coalesce(started, ?) WHERE id = ?",
            (status, started, now.id),
        )
        return
    last = body[body.rfind(b"\n") + 1 :]
    kind = line.kind_of(last) if count else b""
    db.execute(
        "UPDATE executions SET status = ?, finished = ?, outcome_seq = ?, error = ? WHERE id = ?",
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
    # Nothing is taken from any producer any more, so nothing of them need be known.
    db.execute("DELETE FROM producers WHERE execution = ?", (now.id,))


def _brief(event: bytes) -> str:
    """Return an error event's type and message, for lists that have no room for a traceback."""
    payload = line.decode(1, event)["payload"]
    return line.encode_payload({key: payload[key] for key in ("type", "message")}).decode()


def _add(db: sqlite3.Connection, now: State, body: bytes, count: int) -> None:
    last = now.last_seq + count
    db.execute(
        "INSERT INTO chunks (execution, first, last, body) VALUES (?, ?, ?, ?)",
        (now.id, now.last_seq + 1, last, body),
    )
    db.execute("UPDATE executions SET last_seq = ? WHERE id = ?", (last, now.id))


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


def before(db: sqlite3.Connection, execution: int, seq: int, budget_bytes: int) -> list[Chunk]:
    """Return chunks with events before a seq, latest first; see `Store.chunks_back`."""
    rows = db.execute(
        "SELECT first, last, body FROM chunks WHERE execution = ? AND last < ? ORDER BY last DESC",
        (execution, seq),
    )
    return _within(rows, budget_bytes)
