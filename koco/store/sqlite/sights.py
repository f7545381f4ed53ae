"""SQL for a caller's sight: the executions that they may see."""

import sqlite3
from typing import Any

from koco.store.model import EVERYTHING, Sight
from koco.store.sqlite import events


def wheres(sight: Sight, *, of: str = "") -> tuple[list[str], list[Any]]:
    """Return conditions on executions' columns, and their values. `of` is the prefix of each
    column.
    """
    conditions: list[str] = []
    values: list[Any] = []
    if sight.user is not None:
        conditions.append(f"{of}user = ?")
        values.append(sight.user)
    if sight.flows:
        # Same matching as in `koco.control.access.caller`: of GLOB's syntax, a key's flows only
        # have `*`.
        conditions.append(f"({' OR '.join([f'{of}flow GLOB ?'] * len(sight.flows))})")
        values += sight.flows
    return conditions, values


def tallies(db: sqlite3.Connection, sight: Sight) -> dict[str, int]:
    """Return how many executions have each status; see `Store.tallies`."""
    if sight == EVERYTHING:
        return dict(db.execute("SELECT status, count FROM tallies WHERE count > 0"))
    conditions, values = wheres(sight)
    # Executions of others must not be counted, and counting a user's own million would take a
    # second.
    where = " AND ".join([events.IS_OPEN, "service <> ''", *conditions])
    counted = "SELECT status, count(*) FROM executions INDEXED BY executions_by_status"
    return dict(db.execute(f"{counted} WHERE {where} GROUP BY status", values))
