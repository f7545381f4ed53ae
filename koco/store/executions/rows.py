"""The rows of executions."""

from collections.abc import Sequence
from typing import Any

from koco.store.engine.protocol import Connection
from koco.store.model import Execution
from koco.store.sql.table import Table

EXECUTIONS = Table(
    "executions",
    Execution,
    json=("tags", "error", "hidden", "policy", "progress", "used"),
    payloads=("inputs", "moments"),
)
_BY_ID = f"SELECT {EXECUTIONS.columns} FROM executions WHERE id = :id"


def fetch(db: Connection, number: int) -> Sequence[Any] | None:
    """Return the row of an execution, for `EXECUTIONS.read`; None if it was deleted."""
    found: Sequence[Any] | None = db.execute(_BY_ID, {"id": number}).fetchone()
    return found
