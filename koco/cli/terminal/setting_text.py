"""Settings of the control plane in words."""

from collections.abc import Sequence
from typing import Any

from koco.cli.terminal import output
from koco.client.answers import ChangedSetting


def value(given: Any) -> str:
    """Return a value as `koco config set` takes it."""
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, list | tuple):
        return ",".join(map(str, given))
    return f"{given:.12g}" if isinstance(given, float) else str(given)


def shown(given: Any) -> str:
    """Return a value as tables for people show it."""
    return value(given) or "none"


def report(changed: Sequence[ChangedSetting], *, as_json: bool) -> None:
    """Print changed settings: each value before and after."""
    if as_json:
        output.print_items(changed)
    elif output.is_terminal():
        for each in changed:
            before, after = shown(each["before"]), shown(each["value"])
            same = " (as before)" if before == after else f" (was {before})"
            output.print_line(f"{each['name']}  {after}{same}")
    else:
        output.print_fields(("name", "before", "value"), changed, value)
