"""Times for people: ages, durations, and time limits of commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from koco.cli.terminal import output
from koco.errors import UsageError
from koco.time_text import UNITS_S, read_day_or_clock, read_duration, read_time

#: A year. Longer times are mistakes, and timers have limits (seconds).
_LONGEST_S = 366 * 86_400


def seconds(start: str, end: str | None = None) -> float:
    """Return the seconds from one RFC 3339 time to another, or to now."""
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return (until - datetime.fromisoformat(start)).total_seconds()


def short(duration_s: float) -> str:
    """Return a duration in its largest unit: `0.3s`, `12s`, `5m`, `3h`, `2d`."""
    if duration_s < 10:
        return f"{max(duration_s, 0):.1f}s"
    unit, size = next((unit, size) for unit, size in UNITS_S.items() if duration_s >= size)
    return f"{int(duration_s // size)}{unit}"


def exact(duration_s: float) -> str:
    """Return a duration as `short` does, one below a second in milliseconds: `12ms`."""
    return f"{max(duration_s, 0) * 1000:.0f}ms" if duration_s < 0.9995 else short(duration_s)


def ago(time: str) -> str:
    """Return the age of a time: `12s ago`."""
    passed_s = seconds(time)
    return "now" if passed_s < 1 else f"{short(passed_s)} ago"


def ahead(time: str) -> str:
    """Return the distance to a future time: `in 12s`."""
    left_s = -seconds(time)
    return "now" if left_s < 1 else f"in {short(left_s)}"


def at(time: str, stream: TextIO | None = None, *, is_exact: bool = False) -> str:
    """Return a time in the form for a stream (stdout): local and short at a terminal.

    Today's is `14:03:05`, this year's `31 Jan 14:03`, any other `2025-01-31 14:03`; with `is_exact`
    each has seconds and milliseconds. Elsewhere it stays unchanged, in UTC.
    """
    if not output.is_terminal(stream):
        return time
    try:
        then = datetime.fromisoformat(time).astimezone()
    except (ValueError, OverflowError):
        return time
    now = datetime.now(UTC).astimezone()
    is_today, is_this_year = then.date() == now.date(), then.year == now.year
    day = "" if is_today else f"{then.day} {then:%b} " if is_this_year else f"{then:%Y-%m-%d} "
    exact = f":{then:%S}.{then.microsecond // 1000:03}" if is_exact else ""
    return f"{day}{then:%H:%M}{exact or (f':{then:%S}' if is_today else '')}"


def moment(text: str | None, option: str) -> str | None:
    """Return a time as RFC 3339 in UTC.

    It is given as such a time, as an age (`24h`), as a day (`yesterday`, `monday`) or as a time of
    day (`14:30`). A time without a zone is in this machine's zone. None stays None.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    try:
        at = (read_day_or_clock(text) or read_time(text, zone=None)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        hint = "24h or 7d ago, yesterday, monday, 14:30, or a time such as 2026-01-31T14:30"
        raise UsageError(f"{option} cannot be {text!r}", hint=hint) from exc
    return rfc3339(at)


def rfc3339(at: datetime) -> str:
    """Return a time in UTC as the API writes it: `2026-01-31T14:30:00.000000Z`."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def duration(text: str, option: str) -> float:
    """Return a duration, such as `30d`, `12h`, `90m` or `45s`, in seconds.

    Raises:
        UsageError: it is not a duration.
    """
    span_s = read_duration(text)
    if span_s is None:
        raise UsageError(f"{option} must be a duration such as 30d, 12h or 90m, got {text!r}")
    return span_s


def check(timeout_s: float | None) -> None:
    """Raise `UsageError` for a limit that is not valid."""
    if timeout_s is not None and not 0 < timeout_s <= _LONGEST_S:
        raise UsageError(f"--timeout must be a number of seconds above 0, got {timeout_s:g}")


@contextmanager
def limit(timeout_s: float | None, late: Callable[[], Exception]) -> Iterator[None]:
    """Raise `late()` inside the body if it takes longer; None means no limit.

    It uses a signal, and so works only in the main thread. Otherwise a read from the network would
    return only at the next heartbeat, up to ten seconds late.
    """
    if timeout_s is None:
        yield
        return

    import signal  # only here

    def ring(*_: Any) -> None:
        raise late()

    former = signal.signal(signal.SIGALRM, ring)
    # Zero would mean never.
    signal.setitimer(signal.ITIMER_REAL, max(timeout_s, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
