"""SQL for what somebody may see of executions."""

from typing import Any

from koco.store.model import Sight


def wheres(sight: Sight, *, of: str = "") -> tuple[list[str], list[Any]]:
    """Return conditions on executions' columns, and their values; `of` stands before each name."""
    conditions: list[str] = []
    values: list[Any] = []
    if sight.user is not None:
        conditions.append(f"{of}user = ?")
        values.append(sight.user)
    if sight.flows:
        # As `koco.control.caller` has it: of what GLOB knows, a key's flows have `*` only.
        conditions.append(f"({' OR '.join([f'{of}flow GLOB ?'] * len(sight.flows))})")
        values += sight.flows
    return conditions, values
