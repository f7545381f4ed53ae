"""A new execution takes over the recorded steps of another one, up to a step."""

from typing import Any

from koco.errors import NotFoundError
from koco.events.steps import lock_id
from koco.store.engine.protocol import Connection
from koco.store.model import LAST, Execution
from koco.store.sql.table import columns
from koco.store.stream import ledger, replay
from koco.store.stream.waits import IS_RECORDED, STEPS

#: How many steps an error names.
_NAMED = 10
_STEPS = columns([*(name for name in STEPS.names if name != "id"), "result"])
_LOCKS = "name, data, status, created, expires, answer, moments, hidden, settled, by, key"


def origin_of(db: Connection, former: str) -> str:
    """Return the first execution of the chain of resumes that one is in."""
    row = db.execute("SELECT origin FROM executions WHERE fid = :fid", {"fid": former}).fetchone()
    return (row and row[0]) or former


def take_over(db: Connection, new: Execution, former: str, *, before: str | None) -> None:
    """Copy the recorded steps of an execution that come before a step, with what belongs to them.

    `before` is the step's key, or its name for its first call; None is the step that failed last.

    Raises:
        NotFoundError: there is no such execution, or no such step.
    """
    origin = ledger.state(db, former)
    if origin is None:
        raise NotFoundError(f"no execution {former}")
    end = _end(db, former, origin.id, before)
    values: dict[str, Any] = {"id": origin.id, "new": new.id, "end": end}
    kept = f"{IS_RECORDED} AND position < :end"
    db.execute(
        f"INSERT INTO steps (execution, {_STEPS}) SELECT :new, {_STEPS} FROM steps WHERE {kept}"
        " ORDER BY id",
        values,
    )
    # Messages that no kept step has received are received again.
    db.execute(
        "INSERT INTO messages (execution, name, data, moments, created, by, size_bytes, taken)"
        " SELECT :new, name, data, moments, created, by, size_bytes,"
        f" (SELECT key FROM steps WHERE {kept} AND key = messages.taken)"
        " FROM messages WHERE execution = :id ORDER BY id",
        values,
    )
    _copy_locks(db, new, kept, values)


def _copy_locks(db: Connection, new: Execution, kept: str, values: dict[str, Any]) -> None:
    found = db.execute(
        f"SELECT {_LOCKS} FROM locks WHERE execution = :id"
        f" AND key IN (SELECT key FROM steps WHERE {kept} AND kind = 'lock')",
        values,
    ).fetchall()
    names = _LOCKS.split(", ")
    db.executemany(
        f"INSERT INTO locks (lid, execution, {_LOCKS})"
        f" VALUES (:lid, :execution, {', '.join(f':{name}' for name in names)})",
        [
            {"lid": lock_id(new.fid, row[-1]), "execution": new.id}
            | dict(zip(names, row, strict=True))
            for row in found
        ],
    )


def _end(db: Connection, former: str, execution: int, before: str | None) -> int:
    """Return the position of the first step that is not kept, or a higher one than all."""
    if before is None:
        failed = replay.last_failed(db, execution)
        return LAST if failed is None else failed[1]
    steps = "SELECT position FROM steps WHERE execution = :id"
    values = {"id": execution, "name": before}
    for where in ("key = :name", "name = :name"):
        named = f"{steps} AND {where} ORDER BY position LIMIT 1"
        if (row := db.execute(named, values).fetchone()) is not None:
            return int(row[0])
    known = db.execute(
        "SELECT key FROM steps WHERE execution = :id ORDER BY position LIMIT :most",
        {"id": execution, "most": _NAMED + 1},
    ).fetchall()
    names = ", ".join(key for (key,) in known[:_NAMED]) + (", …" if len(known) > _NAMED else "")
    raise NotFoundError(
        f"execution {former} has no step {before!r}",
        hint=f"its steps: {names}" if names else "it has recorded no steps",
    )
