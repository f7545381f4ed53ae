"""Dates and times among values that travel as JSON: which of its texts they were.

JSON has no word for them. So who sends a value says beside it where they stand, and
who gets it makes them again: a flow sees the `date` that its form promises.
"""

import contextlib
import datetime as dt
from typing import Any

#: Where each stands (keys and indices, from the root), and which of `KINDS` it is.
Moments = list[tuple[list[str | int], str]]

#: A datetime is a date as well, and so comes first.
KINDS: dict[str, Any] = {"datetime": dt.datetime, "date": dt.date, "time": dt.time}


def find(value: Any) -> Moments:
    """Return the dates and times in a value; none where it is nested too deep for JSON."""
    try:
        return _find(value)
    except RecursionError:
        return []


def restore(value: Any, moments: Moments) -> Any:
    """Return a value that was JSON with its dates and times made again."""
    for path, kind in moments:
        # What is no such text after all stays as it is.
        with contextlib.suppress(LookupError, TypeError, ValueError):
            value = _restored(value, path, KINDS[kind])
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


def _restored(value: Any, path: list[str | int], cls: Any) -> Any:
    if not path:
        return cls.fromisoformat(value)
    copy = value.copy()
    copy[path[0]] = _restored(value[path[0]], path[1:], cls)
    return copy
