"""Times in queries: in RFC 3339, or as an age such as `2h`."""

from datetime import UTC

from koco.errors import UsageError
from koco.events import line
from koco.time_text import read_time


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
