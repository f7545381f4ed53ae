"""Describe schedules and limits in words."""

from collections.abc import Sequence

from koco.cli.terminal import output, times
from koco.client.answers import FlowLimits, Load, Paused, Schedule, ScheduleOfFlow
from koco.plurals import counted


def next_run(schedule: Sequence[Schedule]) -> str | None:
    """Return the next time of a flow's schedules (RFC 3339), or None."""
    return min((each["next"] for each in schedule if each["next"]), default=None)


def entry(each: Schedule) -> str:
    """Return when a schedule is due, and the outcome of its last time."""
    parts = [f"{each['cron']} ({each['timezone']})"]
    parts += [f"next {times.at(each['next'])}"] if each["next"] else []
    parts += [f"last {times.at(each['last'])} as {each['fid']}"] if each["last"] else []
    parts += [pause(paused)] if (paused := each.get("paused")) else []
    parts += ["overlap"] if each["overlap"] else []
    parts += ["catch up"] if each["catch_up"] else []
    return ", ".join(parts)


def pause(paused: Paused) -> str:
    """Return who paused a schedule, and when."""
    whole = " with its flow" if paused.get("flow") else ""
    return f"paused{whole} by {paused['by']} at {times.at(paused['created'])}"


def report(changed: Sequence[ScheduleOfFlow], done: str, *, as_json: bool) -> None:
    """Print changed schedules, each with what was done to it and its next time."""
    if as_json:
        output.print_items(changed)
        return
    for each in changed:
        following = f", next {times.at(each['next'])}" if each["next"] else ""
        output.print_line(f"{each['id']}\t{each['flow']}\t{each['cron']}\t{done}{following}")


def troubles(each: Schedule | ScheduleOfFlow) -> list[str]:
    """Return the missed or skipped times of a schedule since the last run, with reasons."""
    found = []
    for what, count, at, why in (
        ("missed", each["missed"], each["missed_at"], "nothing could launch it"),
        ("skipped", each["skipped"], each["skipped_at"], "the previous run had not ended"),
    ):
        if at and at > (each["last"] or ""):
            found.append(f"{what}: the run due at {times.at(at)}, because {why} ({count} so far)")
    if trouble := each["trouble"]:
        found.append(f"not launched yet, and tried again: {trouble}")
    return found


def limits(given: FlowLimits) -> str:
    """Return a flow's limits; empty if it has none."""
    words = {"running": "{} running", "queue": "{} waiting", "timeout": "{:g} s a run"}
    values = dict(given)
    parts = [words[key].format(values[key]) for key in words if values.get(key) is not None]
    if retries := given.get("retries"):
        kind = "also after errors" if given.get("retry_errors") else "if its runner dies"
        parts.append(f"{counted(retries, 'retry')} ({kind})")
    return ", ".join(parts)


def load(each: Load) -> str:
    """Return how much of a flow runs and waits, and its maximum."""
    running, waiting = (
        f"{count} {name}" + (f" of at most {most}" if most is not None else "")
        for name, count, most in (
            ("running", each["running"], each["max_running"]),
            ("waiting", each["waiting"], each["max_queue"]),
        )
    )
    return f"{each['flow']}: {running}, {waiting}"
