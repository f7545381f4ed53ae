"""SQL for executions."""

import secrets
import sqlite3
from typing import Any

import msgspec

from koco.errors import ConflictError, NotFoundError
from koco.events import line
from koco.events.model import Kind, Status
from koco.store.model import EVERYTHING, Execution, NewExecution, Page, Policy, Sight, masked
from koco.store.sqlite import audit, events, files, pages, sights

#: Crockford's base32 in lower case: nothing in it is mistaken for something else.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: 16 characters of 5 bits: random, so that a short prefix is enough from the start.
FID_LENGTH = 16

_COLUMNS = ", ".join(Execution.__struct_fields__)


def new_fid() -> str:
    """Return a random fid."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(FID_LENGTH))


def create(db: sqlite3.Connection, new: NewExecution) -> tuple[Execution, bool]:
    """Insert an execution with its first events; see `Store.create`."""
    if new.key is not None and (known := keyed(db, new.user, new.key)):
        if known.key_digest != new.key_digest:
            raise ConflictError(
                f"the key {new.key!r} was used for another launch already: {known.fid}",
                hint="the same key asks for the same flow with the same inputs; take a new one",
            )
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
    }
    cursor = db.execute(
        f"INSERT INTO executions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
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
        # With what it is about, in one commit: a launch has no other to wait for.
        detail = {"flow": new.flow, **new.audited.detail}
        audit.add(db, [msgspec.structs.replace(new.audited, target=fid, detail=detail)])
    return _select(db, "WHERE id = ?", number)[0], True


def _first_events(fid: str, new: NewExecution) -> list[bytes]:
    """Return what an execution's stream begins with."""
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
    """Return the execution that a user launched under an idempotency key."""
    rows = _select(db, "WHERE user = ? AND key = ?", user, key)
    return rows[0] if rows else None


def find(db: sqlite3.Connection, name: str, sight: Sight = EVERYTHING) -> Execution:
    """Return an execution by fid, unique prefix or `latest`; see `Store.execution`."""
    wheres, values = sights.wheres(sight)
    if name == "latest":
        where = " AND ".join(["service <> ''", *wheres])
        rows = _select(db, f"WHERE {where} ORDER BY id DESC LIMIT 1", *values)
    else:
        # U+10FFFF sorts after every character that a fid can hold.
        where = " AND ".join(["fid >= ?", "fid < ?", *wheres])
        rows = _select(db, f"WHERE {where} LIMIT 2", name, name + "\U0010ffff", *values)
        if len(rows) > 1 and rows[0].fid != name:
            raise ConflictError(
                f"several executions begin with {name!r}",
                hint="give more characters of the fid; `koco ps -a` lists them",
            )
    if not rows or not name:
        what = "there is no execution yet" if name == "latest" else f"no execution {name!r}"
        raise NotFoundError(what, hint="`koco ps -a` lists executions, `koco run` starts one")
    return rows[0]


def listing(
    db: sqlite3.Connection,
    *,
    statuses: tuple[str, ...],
    flow: str | None,
    sight: Sight,
    limit: int,
    cursor: str | None,
) -> Page:
    """Return a page of executions; see `Store.executions`."""
    wheres, values = sights.wheres(sight)
    wheres.append("service <> ''")  # proofs are of none
    if statuses:
        wheres.append(f"status IN ({', '.join('?' * len(statuses))})")
        values.extend(statuses)
    if flow is not None:
        wheres.append("flow = ?")
        values.append(flow)
    if cursor is not None:
        wheres.append("id < ?")
        values.append(pages.number(cursor))
    where = " AND ".join(wheres)
    # SQLite would rather go through all of a flow's, newest first, until it has found enough.
    index = "INDEXED BY executions_by_flow_and_status" if statuses and flow is not None else ""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM executions {index} WHERE {where} ORDER BY id DESC LIMIT ?",
        [*values, limit + 1],
    )
    taken, more = pages.take(rows, limit)
    items = [_execution(row) for row in taken]
    return Page(items, str(items[-1].id) if more else None)


def unsettled(db: sqlite3.Connection) -> list[Execution]:
    """Return every execution without a final status, oldest first."""
    return _select(db, f"WHERE {events.IS_OPEN} AND service <> '' ORDER BY id")


def _select(db: sqlite3.Connection, clause: str, *values: Any) -> list[Execution]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM executions {clause}", values)
    return [_execution(row) for row in rows]


def _execution(row: tuple[Any, ...]) -> Execution:
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
