"""The records of steps that arrive with events. These functions run within a change."""

from collections.abc import Sequence

from koco.store.engine.protocol import Connection
from koco.store.model import Recorded
from koco.store.sql.table import insertion

_COLUMNS = (
    *("execution", "key", "name", "kind", "position", "digest", "status", "attempt", "failures"),
    *("started", "duration_s", "arguments", "preview", "size_bytes", "blob", "result"),
)
_KEPT = ("execution", "key", "kind", "started")
_PUT = (
    f"{insertion('steps', _COLUMNS)} ON CONFLICT (execution, key) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEPT)
    + " WHERE steps.status IN ('running', 'retrying')"
)


#: The approximate amount that is removed in one transaction (bytes), and the most steps.
_REMOVED_BYTES, _REMOVED_STEPS = 1024 * 1024, 1000


def record(db: Connection, execution: int, records: Sequence[Recorded], *, seen: int = 0) -> None:
    """Store the records of a batch, except for those of its first lines that were stored before."""
    db.executemany(
        _PUT,
        [
            {
                "execution": execution,
                "key": of.key,
                "name": of.name,
                "kind": "step",
                "position": of.position,
                "digest": of.digest,
                "status": of.status,
                "attempt": of.attempt,
                "failures": of.failures,
                "started": of.started,
                "duration_s": of.duration_s,
                "arguments": of.arguments,
                "preview": of.preview,
                "size_bytes": of.size_bytes,
                "blob": each.blob,
                "result": of.result,
            }
            for each in records
            if each.line >= seen
            for of in (each.record,)
        ],
    )


def remove_some(db: Connection, execution: int) -> bool:
    """Remove some of an execution's steps; say whether those were all."""
    rows = db.execute(
        "SELECT id, size_bytes FROM steps WHERE execution = :execution LIMIT :most",
        {"execution": execution, "most": _REMOVED_STEPS},
    ).fetchall()
    left, gone = _REMOVED_BYTES, []
    for number, size in rows:
        gone.append({"number": number})
        left -= size
        if left <= 0:
            break
    db.executemany("DELETE FROM steps WHERE id = :number", gone)
    return len(gone) == len(rows) < _REMOVED_STEPS
