"""What keys and users are good for, in cells of a table."""

from typing import Any


def plain(value: Any) -> str:
    """Return a field for scripts: lists with commas, `yes` and `no`, and nothing for none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, list) else value or ""


def flows(holder: dict[str, Any]) -> str:
    """Return which flows one is good for, and whether only for own executions."""
    named = ", ".join(holder["flows"]) or "all"
    return named if holder["all_executions"] else f"{named}, own executions"
