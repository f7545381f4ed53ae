"""The records of steps that arrive with events. These functions run within a change."""

from collections.abc import Sequence

import msgspec

from koco.events.steps import StepKind, StepRecord
from koco.store.engine.protocol import Connection
from koco.store.model import Recorded
from koco.store.sql.table import replacement

_COLUMNS = ("execution", "kind", *StepRecord.__struct_fields__, "blob")
#: A recorded outcome is never replaced.
_PUT = (
    f"{replacement('steps', _COLUMNS, key=('execution', 'key'), kept=('kind', 'started'))}"
    " WHERE steps.status IN ('running', 'retrying')"
)

#: The approximate amount that is removed in one transaction (bytes), and the most steps.
_REMOVED_BYTES, _REMOVED_STEPS = 1024 * 1024, 1000


def record(db: Connection, execution: int, records: Sequence[Recorded], *, seen: int = 0) -> None:
    """Store the records of a batch, except for those of its first lines that were stored before."""
    db.executemany(
        _PUT,
        [
            {
                **msgspec.structs.asdict(each.record),
                "execution": execution,
                "kind": StepKind.STEP,
                "blob": each.blob,
            }
            for each in records
            if each.line >= seen
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
