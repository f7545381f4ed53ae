"""Describe schedules and limits in words."""

from collections.abc import Sequence
from typing import Any

from koco.cli.terminal import times
from koco.plurals import counted


def next_run(schedule: Sequence[dict[str, Any]]) -> str | None:
    """Return the next time of a flow's schedules (RFC 3339), or None."""
    return min((each["next"] for each in schedule if each["next"]), default=None)


def entry(each: dict[str, Any]) -> str:
    """Return when a schedule is due, and the outcome of its last time."""
    parts = [f"{each['cron']} ({each['timezone']})"]
    parts += [f"next {times.at(each['next'])}"] if each["next"] else []
    parts += [f"last {times.at(each['last'])} as {each['fid']}"] if each["last"] else []
    parts += [name.replace("_", " ") for name in ("overlap", "catch_up") if each[name]]
    return ", ".join(parts)


def troubles(each: dict[str, Any]) -> list[str]:
    """Return the missed or skipped times of a schedule since the last run, with reasons."""
    found = []
    for what, why in (("missed", "nothing was there to launch it"), ("skipped", "the former ran")):
        at = each[f"{what}_at"]
        if at and at > (each["last"] or ""):
            found.append(f"{what}: the run due at {times.at(at)}, as {why} ({each[what]} so far)")
    if trouble := each["trouble"]:
        found.append(f"not launched, and tried again: {trouble}")
    return found


def limits(given: dict[str, Any]) -> str:
    """Return a flow's limits; empty if it has none."""
    words = {"running": "{} running", "queue": "{} waiting", "timeout": "{:g} s a run"}
    said = [words[key].format(given[key]) for key in words if given.get(key) is not None]
    if retries := given.get("retries"):
        kind = "errors, too" if given.get("retry_errors") else "where its runner dies"
        said.append(f"{counted(retries, 'retry')} ({kind})")
    return ", ".join(said)


def load(each: dict[str, Any]) -> str:
    """Return how much of a flow runs and waits, and its maximum."""
    running, waiting = (
        f"{each[name]} {name}" + (f" of at most {each[most]}" if each[most] is not None else "")
        for name, most in (("running", "max_running"), ("waiting", "max_queue"))
    )
    return f"{each['flow']}: {running}, {waiting}"
