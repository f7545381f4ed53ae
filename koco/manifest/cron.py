"""When a schedule is due: cron expressions in time zones, daylight saving time minded."""

import functools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from koco.manifest.problems import Wrong, nearest

#: How many times between two are counted; beyond that it is a number anyway.
MOST = 10_000


def expression(text: str) -> str:
    """Check a cron expression: five fields, or six with seconds first."""
    from cronsim import CronSim, CronSimError

    fields = "minute hour day-of-month month day-of-week"
    if text.startswith("@"):
        raise Wrong(f"{text!r} is no cron expression", f"five fields: {fields}")
    try:
        next(CronSim(text, datetime.now(UTC)))
    except CronSimError as exc:
        message = f"{text!r} is no cron expression: {str(exc)[:1].lower()}{str(exc)[1:]}"
        raise Wrong(message, f'five fields, {fields}: "0 6 * * 1-5"') from exc
    except StopIteration:
        raise Wrong(f"{text!r} is never due") from None
    return text


def timezone(text: str) -> str:
    """Check a time zone's name: the IANA database's, such as `Europe/Berlin`."""
    known = _timezones()
    if text in known:
        return text
    near = nearest(text, known) or nearest(text, {name.rpartition("/")[2]: name for name in known})
    named = next((name for name in sorted(known) if name.rpartition("/")[2] == near), near)
    hint = f"did you mean {named!r}?" if named else 'such as "UTC" or "Europe/Berlin"'
    raise Wrong(f"there is no time zone {text!r}", hint)


@functools.cache
def _timezones() -> set[str]:
    """Return the names of all time zones, read from the disk once: that takes milliseconds."""
    import zoneinfo

    return zoneinfo.available_timezones()


def next_after(cron: str, zone: str, after_s: float) -> float | None:
    """Return the first time after a time (both in seconds since the epoch), if one comes."""
    return next(iter(times(cron, zone, after_s, most=1)), None)


def times(cron: str, zone: str, after_s: float, *, until_s: float = 1e11, most: int) -> list[float]:
    """Return the times after one and up to another, the first so many of them."""
    from cronsim import CronSim

    found: list[float] = []
    for moment in CronSim(cron, datetime.fromtimestamp(after_s, ZoneInfo(zone))):
        due_s = moment.timestamp()
        if due_s > until_s or len(found) == most:
            break
        # An hour that the clock skips may give the same moment twice.
        if due_s > after_s and due_s not in found[-1:]:
            found.append(due_s)
    return found


def latest_until(cron: str, zone: str, until_s: float) -> float | None:
    """Return the last time up to a time, if there was one."""
    from cronsim import CronSim

    # A second on: its times are whole seconds, before the one that is given.
    start = datetime.fromtimestamp(int(until_s) + 1, ZoneInfo(zone))
    moment = next(CronSim(cron, start, reverse=True), None)
    return moment.timestamp() if moment else None
