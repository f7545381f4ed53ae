"""Read the times and durations that people write: RFC 3339, or a number with a unit (`24h`)."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

#: The units of durations, largest first (seconds).
UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}

_DURATION = re.compile(r"(\d{1,9})([dhms])", re.ASCII)


def read_duration(text: str) -> float | None:
    """Return a duration such as `30d`, `12h`, `90m` or `45s` in seconds, or None if it is none."""
    found = _DURATION.fullmatch(text)
    return float(found[1]) * UNITS_S[found[2]] if found else None


def read_time(text: str, *, zone: tzinfo | None) -> datetime:
    """Return a time in UTC, from RFC 3339 or from an age such as `24h`.

    A time without a zone is in `zone`, or in this machine's zone if that is None.

    Raises:
        ValueError, OverflowError: it is neither, or too far from now.
    """
    if (age_s := read_duration(text)) is not None:
        return datetime.now(UTC) - timedelta(seconds=age_s)
    given = datetime.fromisoformat(text)
    return (given if given.tzinfo else given.replace(tzinfo=zone)).astimezone(UTC)
