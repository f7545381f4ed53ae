"""SQL for a caller's sight: the executions that they may see."""

from typing import Any

from koco.store.engine.protocol import Dialect
from koco.store.model import Sight


def conditions(sight: Sight, dialect: Dialect, *, of: str = "") -> tuple[list[str], dict[str, Any]]:
    """Return conditions on executions' columns, and their values. `of` is the prefix of each
    column.
    """
    found: list[str] = []
    values: dict[str, Any] = {}
    if sight.user is not None:
        found.append(f'{of}"user" = :sight_user')
        values["sight_user"] = sight.user
    if sight.flows:
        patterns = {f"sight_flow_{number}": flow for number, flow in enumerate(sight.flows)}
        fits = [dialect.matches(f"{of}flow", name) for name in patterns]
        found.append(f"({' OR '.join(fits)})")
        values |= patterns
    return found, values
