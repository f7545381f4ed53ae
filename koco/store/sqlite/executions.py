"""SQL for executions."""

import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from koco.errors import ConflictError, NotFoundError
from koco.events import line
from koco.events.model import Kind, Status
from koco.store.model import EVERYTHING, Execution, NewExecution, Policy, Sight, masked
from koco.store.sqlite import audit, events, files, search, sights

#: Crockford's base32 in lower case, which has no characters that look alike.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: 16 characters of 5 bits: random, so that a short prefix is enough from the start.
FID_LENGTH = 16

#: How many batches of events are removed in one transaction. The next launch waits for it.
_DELETE_CHUNKS = 100

#: Never the id of a deleted execution, because lists, changes and the full text index use these
#: ids.
_NEXT_ID = (
    "SELECT 1 + max(coalesce((SELECT max(id) FROM executions), 0),"
    " coalesce((SELECT max(execution) FROM changes), 0))"
)

#: A prefix that fits this many executions is too short to resolve.
_FITTING = 1000
#: How many of them the error for a short prefix names.
_NAMED = 5

_COLUMNS = ", ".join(Execution.__struct_fields__)


def new_fid() -> str:
    """Return a random fid."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(FID_LENGTH))


def create(db: sqlite3.Connection, new: NewExecution) -> tuple[Execution, bool]:
    """Insert an execution with its first events; see `Store.create`."""
    if new.key is not None and (known := keyed(db, new.user, new.key)):
        known.require_same(new.key_digest)
        return known, False
    fid, created = new_fid(), line.timestamp()
    lines = _first_events(fid, new)
    columns = {
        "fid": fid,
        "flow": new.flow,
        "service": new.service,
        "release": new.release,
        "status": Status.QUEUED,
        "inputs": _json(new.inputs),
        "user": new.user,
        "tags": _json(new.tags),
        "created": created,
        "last_seq": len(lines),
        "entrypoint": new.entrypoint,
        "key": new.key,
        "key_digest": new.key_digest,
        "moments": _json(new.moments) if new.moments else None,
        "hidden": _json(new.hidden) if new.hidden else None,
        "policy": _json(new.policy) if new.policy != Policy() else None,
        "left_s": new.policy.timeout_s,
        "retry_of": new.retry_of,
    }
    cursor = db.execute(
        f"INSERT INTO executions (id, {', '.join(columns)})"
        f" VALUES (({_NEXT_ID}), {', '.join('?' * len(columns))})",
        tuple(columns.values()),
    )
    number = cursor.lastrowid
    db.execute(
        "INSERT INTO chunks (execution, first, last, body) VALUES (?, 1, ?, ?)",
        (number, len(lines), b"\n".join(lines)),
    )
    db.executemany(
        "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)",
        [(number, f.path, f.sha256, f.size_bytes, created, new.user) for f in new.files],
    )
    if new.audited is not None:
        # The audit entry is part of the same commit, so a launch waits for no second one.
        detail = {"flow": new.flow, **new.audited.detail}
        audit.add(db, [msgspec.structs.replace(new.audited, target=fid, detail=detail)])
    return _select(db, "WHERE id = ?", number)[0], True


def _first_events(fid: str, new: NewExecution) -> list[bytes]:
    """Return the first events of an execution's stream."""
    meta = {
        "fid": fid,
        "flow": new.flow,
        "service": new.service,
        "release": new.release,
        "user": new.user,
        "tags": new.tags,
        **new.about,
    }
    return [
        line.encode(Kind.META, meta),
        line.encode(Kind.INPUTS, masked(new.inputs, new.hidden)),
        *(line.encode(Kind.UPLOAD, files.told(file, by=new.user)) for file in new.files),
        line.encode(Kind.STATUS, {"status": Status.QUEUED}),
    ]


def keyed(db: sqlite3.Connection, user: str, key: str) -> Execution | None:
    """Return the execution that a user launched with an idempotency key."""
    rows = _select(db, "WHERE user = ? AND key = ?", user, key)
    return rows[0] if rows else None


def find(db: sqlite3.Connection, name: str, sight: Sight = EVERYTHING) -> Execution:
    """Return an execution by fid or unique prefix; see `Store.execution`."""
    wheres, values = sights.wheres(sight)
    found = _select(db, f"WHERE {' AND '.join(['fid = ?', *wheres])}", name, *values)
    if not found and name:
        # Force the index on fid, because a single user may own all of a million executions.
        fitting = (
            "SELECT id FROM executions INDEXED BY sqlite_autoindex_executions_1"
            f" WHERE fid >= ? AND fid < ? LIMIT {_FITTING}"
        )
        # U+10FFFF sorts after every character of a fid.
        ends = (name, name + "\U0010ffff")
        where = " AND ".join([f"id IN ({fitting})", *wheres])
        newest = f"NOT INDEXED WHERE {where} ORDER BY id DESC LIMIT {_NAMED + 1}"
        found = _select(db, newest, *ends, *values)
        is_short = len(db.execute(fitting, ends).fetchall()) == _FITTING
        if len(found) > 1 or is_short:
            raise _ambiguous(name, found)
    if not found:
        raise NotFoundError(
            f"no execution {name!r}", hint="`koco ps -a` lists executions, `koco run` starts one"
        )
    return found[0]


def _ambiguous(name: str, found: list[Execution]) -> ConflictError:
    """Return the error that lists the newest executions that a prefix fits."""
    listed = [f"{each.fid} ({each.flow}, {each.status})" for each in found[:_NAMED]]
    more = ["more"] if len(found) > _NAMED else []
    named = f": {', '.join(listed + more)}" if len(found) > 1 else ""
    return ConflictError(
        f"several executions begin with {name!r}{named}",
        hint="give more characters of the fid; `koco ps -a` lists them",
    )


def unsettled(db: sqlite3.Connection) -> list[Execution]:
    """Return every execution without a final status, oldest first."""
    return _select(db, f"WHERE {events.IS_OPEN} AND service <> '' ORDER BY id")


def request_cancels(db: sqlite3.Connection, service: str, grace_s: float) -> list[str]:
    """Request the cancellation of all of a service's executions; see `Store.request_cancels`."""
    db.execute(
        "UPDATE executions SET cancel_requested = coalesce(cancel_requested, ?), grace_s = ?"
        f" WHERE {events.IS_OPEN} AND service = ?",
        (line.timestamp(), grace_s, service),
    )
    found = db.execute(
        f"SELECT fid FROM executions WHERE {events.IS_OPEN} AND status <> 'queued' AND service = ?",
        (service,),
    )
    return [fid for (fid,) in found]


def end_waiting(db: sqlite3.Connection, service: str, most: int) -> list[str]:
    """End some of a service's queued, cancelled executions; see `Store.end_waiting`."""
    found = db.execute(
        "SELECT fid FROM executions WHERE status = 'queued' AND service = ?"
        " AND cancel_requested IS NOT NULL ORDER BY id LIMIT ?",
        (service, most),
    )
    fids = [fid for (fid,) in found.fetchall()]
    for fid in fids:
        events.settle(db, fid, Status.CANCELLED, None)
    return fids


def row(db: sqlite3.Connection, number: int) -> tuple[Any, ...] | None:
    """Return the row of an execution, for `read`; None if it was deleted."""
    found: tuple[Any, ...] | None = db.execute(
        f"SELECT {_COLUMNS} FROM executions WHERE id = ?", (number,)
    ).fetchone()
    return found


def rebind(
    db: sqlite3.Connection,
    fid: str,
    *,
    former: int,
    release: int,
    inputs: dict[str, Any],
    hidden: Sequence[str],
) -> Execution | None:
    """Move an execution that has never begun to another release; see `Store.rebind`."""
    moved = db.execute(
        "UPDATE executions SET release = ?, inputs = ?, hidden = ?, runner = ''"
        " WHERE fid = ? AND release = ? AND status = 'queued' AND started IS NULL"
        " AND cancel_requested IS NULL AND timed_out IS NULL",
        (release, _json(inputs), _json(hidden) if hidden else None, fid, former),
    )
    now = events.state(db, fid)
    if not moved.rowcount or now is None:
        return None
    told = {"status": Status.QUEUED, "release": release}
    events.tell(db, now, [line.encode(Kind.STATUS, told)])
    return _select(db, "WHERE fid = ?", fid)[0]


def delete(db: sqlite3.Connection, fid: str) -> bool:
    """Remove a piece of an execution that has ended, or the rest; see `Store.delete`."""
    now = events.state(db, fid)
    if now is None:
        raise NotFoundError(f"no execution {fid}")
    if not now.status.is_final:
        raise ConflictError(
            f"execution {fid} has not ended: it is {now.status}",
            hint=f"`koco cancel {fid} --wait` ends it",
        )
    if not events.remove(db, now.id, _DELETE_CHUNKS):
        return False
    search.forget(db, now.id)
    db.execute("DELETE FROM executions WHERE id = ?", (now.id,))
    return True


def _select(db: sqlite3.Connection, clause: str, *values: Any) -> list[Execution]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM executions {clause}", values)
    return [read(row) for row in rows]


def read(row: tuple[Any, ...]) -> Execution:
    """Return an execution from its row."""
    fields = dict(zip(Execution.__struct_fields__, row, strict=True))
    fields["status"] = Status(fields["status"])
    fields["inputs"] = msgspec.json.decode(fields["inputs"])
    fields["error"] = msgspec.json.decode(fields["error"]) if fields["error"] else None
    fields["moments"] = msgspec.json.decode(fields["moments"] or "[]")
    fields["hidden"] = tuple(msgspec.json.decode(fields["hidden"] or "[]"))
    fields["tags"] = tuple(msgspec.json.decode(fields["tags"]))
    fields["policy"] = events.policy_of(fields["policy"])
    return Execution(**fields)


def _json(value: Any) -> str:
    return line.encode_payload(value).decode()
