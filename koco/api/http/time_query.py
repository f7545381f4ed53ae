"""Times in requests: in RFC 3339, as an age such as `2h`, or as a number of seconds."""

from datetime import UTC

from koco.errors import UsageError
from koco.events import line
from koco.time_text import read_time

#: The longest time that cancelled executions may get to end (seconds).
LONGEST_GRACE_S = 3600.0


def parse(name: str, text: str | None) -> str | None:
    """Return a time in the store's form, which can be compared as text. None stays None.

    A time without a zone is in UTC.

    Raises:
        UsageError: it is not a time. `name` is the parameter's name.
    """
    if text is None:
        return None
    try:
        return line.timestamp(read_time(text, zone=UTC).timestamp())
    except (ValueError, OverflowError, OSError) as exc:
        raise UsageError(
            f"{name} is not a time: {text[:80]!r}", hint="such as 2026-01-31T12:00:00Z, or 24h"
        ) from exc


def check_seconds(name: str, given_s: float, *, most_s: float) -> None:
    """Refuse a number of seconds that is negative or too large. `name` is the parameter's name."""
    if not 0 <= given_s <= most_s:
        raise UsageError(f"{name} must be from 0 to {most_s:g} seconds, got {given_s:g}")
