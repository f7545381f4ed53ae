"""The permissions of keys and users, as cells of a table."""

from typing import Any

from koco.client.answers import Holder


def plain(value: Any) -> str:
    """Return a field for scripts: lists with commas, `yes` and `no`, and empty text for None."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)


def flows(holder: Holder) -> str:
    """Return the flows that a holder may use, and whether only its own executions."""
    named = ", ".join(holder["flows"]) or "all"
    return named if holder["all_executions"] else f"{named}, own executions"
