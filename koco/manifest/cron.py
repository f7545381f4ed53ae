"""The times of a schedule: cron expressions in time zones, with daylight saving time."""

import functools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from koco.manifest.problems import InvalidValueError
from koco.spelling import nearest

#: How many missed times are counted at most.
MOST = 10_000


def check_expression(text: str) -> str:
    """Check a cron expression: five fields, or six with seconds first."""
    from cronsim import CronSim, CronSimError

    fields = "minute hour day-of-month month day-of-week"
    if text.startswith("@"):
        raise InvalidValueError(f"{text!r} is not a cron expression", f"five fields: {fields}")
    try:
        next(CronSim(text, datetime.now(UTC)))
    except CronSimError as exc:
        message = f"{text!r} is not a cron expression: {str(exc)[:1].lower()}{str(exc)[1:]}"
        raise InvalidValueError(message, f'five fields, {fields}: "0 6 * * 1-5"') from exc
    except StopIteration:
        raise InvalidValueError(f"{text!r} is never due") from None
    return text


#: The least similarity of a zone to suggest. Names have their continent in common, so it is high.
_NEAR = 0.8


def check_timezone(text: str) -> str:
    """Check a time zone's name from the IANA database, for example `Europe/Berlin`."""
    known = _timezones()
    if text in known:
        return text
    cities = {name.rpartition("/")[2]: name for name in known}
    near = nearest(text, known, cutoff=_NEAR) or nearest(text, cities, cutoff=_NEAR)
    named = next((name for name in sorted(known) if name.rpartition("/")[2] == near), near)
    hint = f"did you mean {named!r}?" if named else 'such as "UTC" or "Europe/Berlin"'
    raise InvalidValueError(f"there is no time zone {text!r}", hint)


@functools.cache
def _timezones() -> set[str]:
    """Return the names of all time zones. Cached, because reading the disk takes milliseconds."""
    import zoneinfo

    return zoneinfo.available_timezones()


def next_after(cron: str, zone: str, after_s: float) -> float | None:
    """Return the first time after `after_s` (both in seconds since the epoch), or None."""
    return next(iter(due_times(cron, zone, after_s, most=1)), None)


def due_times(
    cron: str, zone: str, after_s: float, *, until_s: float = 1e11, most: int
) -> list[float]:
    """Return the first `most` times after `after_s` and up to `until_s`."""
    from cronsim import CronSim

    found: list[float] = []
    for moment in CronSim(cron, datetime.fromtimestamp(after_s, ZoneInfo(zone))):
        due_s = moment.timestamp()
        if due_s > until_s or len(found) == most:
            break
        # If the clock skips an hour, cronsim can return the same moment twice.
        if due_s > after_s and due_s not in found[-1:]:
            found.append(due_s)
    return found


def latest_until(cron: str, zone: str, until_s: float) -> float | None:
    """Return the last time up to `until_s`, or None."""
    from cronsim import CronSim

    # One second later, because cronsim returns whole seconds before the given one.
    start = datetime.fromtimestamp(int(until_s) + 1, ZoneInfo(zone))
    moment = next(CronSim(cron, start, reverse=True), None)
    return moment.timestamp() if moment else None
