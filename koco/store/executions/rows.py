"""The rows of executions."""

from collections.abc import Iterator, Sequence
from typing import Any

from koco.store.engine.protocol import Connection
from koco.store.model import Execution
from koco.store.sql.table import Table, columns, to_json

EXECUTIONS = Table(
    "executions",
    Execution,
    json=("tags", "error", "hidden", "policy", "progress", "used"),
    payloads=("inputs", "moments"),
)


def fetch_all(db: Connection, ids: Sequence[int]) -> Iterator[Sequence[Any]]:
    """Return the rows of the executions with some ids, highest id first, for `EXECUTIONS.read`.

    The ids must be in that order. Those of deleted executions are left out. Rows are read when
    they are needed, because they may be large.
    """
    if not ids:
        return iter(())
    rows = db.iterate(
        f"SELECT {columns(EXECUTIONS.names, of='e.')} FROM {db.dialect.numbers('ids')} AS given"
        f" CROSS JOIN executions e WHERE e.id = given.value {db.dialect.in_order('e.id')}",
        {"ids": to_json(ids)},
    )
    return iter(rows)  # which end with the last reference to them
