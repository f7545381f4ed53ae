"""SQL for locks: an execution's pauses for a person. Runs in the writer's thread.

Each change is one transaction with its events and the execution's status. An execution is
`awaiting` exactly while it has an open lock.
"""

import sqlite3
from typing import Any

import msgspec

from koco.errors import NotFoundError, UsageError
from koco.events import line
from koco.events.model import Kind, Status
from koco.store.model import Answer, Lock, LockPage, Sight, masked
from koco.store.sqlite import events, pages, sights

_SELECT = (
    "SELECT l.lid, e.fid, e.flow, e.service, e.release, l.name, l.data, l.status, l.created,"
    " l.expires, l.answer, l.moments, l.hidden, l.settled, l.by"
    " FROM locks l JOIN executions e ON e.id = l.execution"
)


def open_lock(
    db: sqlite3.Connection,
    fid: str,
    lid: str,
    *,
    name: str,
    data: Any,
    expires: float,
    most_bytes: float,
) -> Lock:
    """Insert a lock with its event; see `Store.open_lock`."""
    if known := _select(db, "WHERE l.lid = ? AND e.fid = ?", lid, fid):
        return known[0]  # a repeated call: the event exists already
    now = events.open_state(db, fid, refusal=": nobody is asked any more")
    events.require_room(now, most_bytes)
    db.execute(
        "INSERT INTO locks (lid, execution, name, data, status, created, expires)"
        " VALUES (?, ?, ?, ?, 'open', ?, ?)",
        (lid, now.id, name, _json(data), line.timestamp(), expires),
    )
    told = {"lid": lid, "name": name, "data": data, "expires": line.timestamp(expires)}
    status = Status.AWAITING if now.status is Status.RUNNING else None
    events.tell(db, now, [line.encode(Kind.LOCK, told)], status)
    return get(db, lid)


def answer(db: sqlite3.Connection, lid: str, given: Answer, *, by: str) -> Lock:
    """Settle an open lock with a person's answer; see `Store.answer_lock`."""
    lock = get(db, lid)
    lock.require_open()
    _settle(
        db,
        lock,
        "answered",
        given=given,
        by=by,
        told={"answer": masked(given.value, given.hidden), "by": by},
    )
    return get(db, lid)


def expire(db: sqlite3.Connection, now_s: float) -> list[Lock]:
    """Settle the locks that have expired; see `Store.expire_locks`."""
    late = _select(db, "WHERE l.status = 'open' AND l.expires <= ? ORDER BY l.expires", now_s)
    for lock in late:
        _settle(db, lock, "expired", told={})
    return [get(db, lock.lid) for lock in late]


def withdraw(db: sqlite3.Connection, lid: str) -> Lock:
    """Settle a lock because its flow stopped waiting for it; see `Store.withdraw_lock`."""
    lock = get(db, lid)
    if lock.status == "open":
        _settle(db, lock, "withdrawn", told={})
    return get(db, lid)


def get(db: sqlite3.Connection, lid: str) -> Lock:
    """Return a lock; see `Store.lock`."""
    found = _select(db, "WHERE l.lid = ?", lid)
    if not found:
        raise NotFoundError(f"there is no lock {lid!r}", hint="`koco inbox` lists the open ones")
    return found[0]


def of(db: sqlite3.Connection, execution: int) -> list[Lock]:
    """Return an execution's locks, oldest first."""
    return _select(db, "WHERE l.execution = ? ORDER BY l.created, l.lid", execution)


def next_expiry(db: sqlite3.Connection) -> float | None:
    """Return when the next open lock expires (seconds since the epoch)."""
    row = db.execute("SELECT min(expires) FROM locks WHERE status = 'open'").fetchone()
    found: float | None = row[0]
    return found


def listing(
    db: sqlite3.Connection,
    *,
    status: str,
    flow: str | None,
    sight: Sight,
    limit: int,
    cursor: str | None,
) -> LockPage:
    """Return a page of locks, oldest first; see `Store.locks`."""
    wheres, values = sights.wheres(sight, of="e.")
    wheres.append("l.status = ?")
    values.append(status)
    if flow is not None:
        wheres.append("e.flow = ?")
        values.append(flow)
    return _page(db, wheres, values, limit, cursor)


def page_of(db: sqlite3.Connection, execution: int, *, limit: int, cursor: str | None) -> LockPage:
    """Return a page of an execution's locks; see `Store.page_of_locks`."""
    return _page(db, ["l.execution = ?"], [execution], limit, cursor)


def _page(
    db: sqlite3.Connection, wheres: list[str], values: list[Any], limit: int, cursor: str | None
) -> LockPage:
    if cursor is not None:
        created, tilde, lid = cursor.partition("~")
        if not tilde:
            raise UsageError(f"not a cursor: {cursor!r}", hint="use the `next` of a former page")
        wheres.append("(l.created, l.lid) > (?, ?)")
        values += [created, lid]
    clause = f"WHERE {' AND '.join(wheres)} ORDER BY l.created, l.lid LIMIT ?"
    taken, more = pages.take(db.execute(f"{_SELECT} {clause}", [*values, limit + 1]), limit)
    items = [_lock(row) for row in taken]
    return LockPage(items, f"{items[-1].created}~{items[-1].lid}" if more else None)


def _settle(
    db: sqlite3.Connection,
    lock: Lock,
    status: str,
    *,
    told: dict[str, Any],
    given: Answer | None = None,
    by: str | None = None,
) -> None:
    answer = moments = hidden = None
    if given is not None:
        answer = _json(given.value)
        moments = _json(given.moments) if given.moments else None
        hidden = _json(given.hidden) if given.hidden else None
    db.execute(
        "UPDATE locks SET status = ?, answer = ?, moments = ?, hidden = ?, by = ?, settled = ?"
        " WHERE lid = ?",
        (status, answer, moments, hidden, by, line.timestamp(), lock.lid),
    )
    now = events.state(db, lock.fid)
    if now is None or now.status.is_final:
        return
    others = db.execute(
        "SELECT 1 FROM locks WHERE execution = ? AND status = 'open' LIMIT 1", (now.id,)
    ).fetchone()
    goes_on = now.status is Status.AWAITING and others is None
    event = {"lid": lock.lid, "name": lock.name, "outcome": status, **told}
    events.tell(db, now, [line.encode(Kind.LEASE, event)], Status.RUNNING if goes_on else None)


def _select(db: sqlite3.Connection, clause: str, *values: Any) -> list[Lock]:
    return [_lock(row) for row in db.execute(f"{_SELECT} {clause}", values)]


def _lock(row: tuple[Any, ...]) -> Lock:
    fields = dict(zip(Lock.__struct_fields__, row, strict=True))
    fields["data"] = msgspec.json.decode(fields["data"])
    fields["hidden"] = tuple(msgspec.json.decode(fields["hidden"] or "[]"))
    fields["moments"] = msgspec.json.decode(fields["moments"] or "[]")
    if fields["answer"] is not None:
        fields["answer"] = msgspec.json.decode(fields["answer"])
    return Lock(**fields)


def _json(value: Any) -> str:
    return line.encode_payload(value).decode()
