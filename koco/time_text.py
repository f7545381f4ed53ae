"""Read the times and durations that people write: RFC 3339, or such as `24h` and `yesterday`."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

#: The units of durations, largest first (seconds).
UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
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


def read_day_or_clock(text: str, *, now: datetime | None = None) -> datetime | None:
    """Return the time that a word for a day or a time of day means here, or None if it is neither.

    `today`, `yesterday` and a weekday's name (or its first three letters) are the start of that
    day, which is never in the future: today's own name is today. `14:30` is the last time that a
    clock here showed that.
    """
    now = (now or datetime.now(UTC)).astimezone()
    word = text.lower()
    if (found := _CLOCK.fullmatch(word)) is not None:
        clock = time(int(found[1]), int(found[2]))
        at = _here(now.date(), clock)
        return at if at <= now else _here(now.date() - timedelta(days=1), clock)
    days = {"today": 0, "yesterday": 1}
    for number, name in enumerate(_WEEKDAYS):
        days[name] = days[name[:3]] = (now.weekday() - number) % 7
    back = days.get(word)
    return None if back is None else _here(now.date() - timedelta(days=back), time())


def _here(day: date, clock: time) -> datetime:
    """Return a time of a day in this machine's zone."""
    return datetime.combine(day, clock).astimezone()
