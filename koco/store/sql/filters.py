"""SQL for filters: conditions on columns, for the values that are given."""

from collections.abc import Iterable, Mapping
from typing import Any


def conditions_of(wanted: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the conditions (such as `flow = :flow`) whose value is not None, and their values."""
    found = {condition: value for condition, value in wanted.items() if value is not None}
    return list(found), {name.rpartition(":")[2]: value for name, value in found.items()}


def any_of(column: str, name: str, wanted: Iterable[Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the condition that a column has one of some values, and the values; none if none is
    wanted.
    """
    values = {f"{name}_{number}": each for number, each in enumerate(wanted)}
    listed = ", ".join(f":{each}" for each in values)
    return [f"{column} IN ({listed})"] if values else [], values
