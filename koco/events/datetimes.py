"""Mark dates and times among values that travel as JSON.

JSON has no type for them. So the sender records where they are, beside the value, and the
receiver restores them: a flow gets the `date` that its form promises.
"""

import contextlib
import datetime as dt
from typing import Any

#: The path of each (keys and indices from the root), and its key in `KINDS`.
Moments = list[tuple[list[str | int], str]]

#: `datetime` comes first, because a datetime is a date as well.
KINDS: dict[str, Any] = {"datetime": dt.datetime, "date": dt.date, "time": dt.time}


def find(value: Any) -> Moments:
    """Return the dates and times in a value; none if it is nested too deeply for JSON."""
    try:
        return _find(value)
    except RecursionError:
        return []


def restore(value: Any, moments: Moments) -> Any:
    """Return a decoded JSON value with its dates and times restored."""
    for path, kind in moments:
        # A text that cannot be parsed stays as it is.
        with contextlib.suppress(LookupError, TypeError, ValueError):
            value = _restore_at(value, path, KINDS[kind])
    return value


def _find(value: Any) -> Moments:
    if isinstance(value, dict):
        inner: Any = ((key, each) for key, each in value.items() if isinstance(key, str))
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    else:
        kind = next((name for name, cls in KINDS.items() if isinstance(value, cls)), None)
        return [([], kind)] if kind else []
    return [([key, *path], kind) for key, each in inner for path, kind in _find(each)]


def _restore_at(value: Any, path: list[str | int], cls: Any) -> Any:
    if not path:
        return cls.fromisoformat(value)
    copy = value.copy()
    copy[path[0]] = _restore_at(value[path[0]], path[1:], cls)
    return copy
