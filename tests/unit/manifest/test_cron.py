"""Schedules: their keys in a manifest, and their times."""

import zoneinfo
from datetime import UTC, datetime
from typing import Any

import pytest

from koco.errors import ManifestError
from koco.manifest import cron, load
from koco.manifest.checks import find_problems

FLOW = {"name": "greet", "entrypoint": "hello.app:greet"}


def manifest(*schedule: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"service": "hello", "flows": [FLOW], "schedule": list(schedule), **more}


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def due(expression: str, zone: str, after: str, count: int) -> list[str]:
    found = cron.due_times(expression, zone, at(after), most=count)
    return [datetime.fromtimestamp(each, UTC).strftime("%m-%d %H:%M") for each in found]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"cron": "0 6 * *"}, "schedule[0].cron: '0 6 * *' is not a cron expression: wrong number"),
        ({"cron": "0 25 * * *"}, "is not a cron expression: bad hour (hint: five fields"),
        ({"cron": "@daily"}, "'@daily' is not a cron expression (hint: five fields"),
        ({"cron": "0 6 31 2 *"}, "is not a cron expression: bad day-of-month"),
        ({"cron": "* * * * *", "timezone": "berlin"}, "(hint: did you mean 'Europe/Berlin'?)"),
        # A zone that is merely on the same continent is not suggested.
        ({"cron": "* * * * *", "timezone": "Europe/Nowhere"}, 'such as "UTC"'),
        ({"cron": "* * * * *", "timezone": "Moon/Base"}, "there is no time zone 'Moon/Base'"),
        ({"cron": "* * * * *", "timezone": "../etc/passwd"}, "there is no time zone"),
        ({"cron": "* * * * *", "flow": "gret"}, "no flow 'gret' (hint: did you mean 'greet'?)"),
        ({"cron": "* * * * *", "overlp": True}, "schedule[0].overlp: unknown key (hint: did you"),
        ({}, "schedule[0]: key 'cron' is missing (hint: When: minute, hour"),
    ],
)
def test_reports_invalid_schedules_at_their_place(entry: dict[str, Any], problem: str) -> None:
    """With the reason and a hint."""
    with pytest.raises(ManifestError) as caught:
        load.check(manifest({"flow": "greet", **entry}))
    assert problem in caught.value.message


def test_reports_duplicate_schedules() -> None:
    """They would launch the flow twice."""
    entry = {"flow": "greet", "cron": "* * * * *"}
    with pytest.raises(ManifestError, match=r"schedule\[1\]: is the same as schedule\[0\]"):
        load.check(manifest(entry, entry))


def test_finds_duplicates_with_keys_in_another_order() -> None:
    """Also works if a key is not text."""
    inputs = {"b": 1, "a": [2]}
    entry = {"flow": "greet", "cron": "* * * * *", "inputs": inputs}
    other = {"inputs": dict(reversed(inputs.items())), "cron": "* * * * *", "flow": "greet"}
    with pytest.raises(ManifestError, match=r"schedule\[1\]: is the same as schedule\[0\]"):
        load.check(manifest(entry, other))
    odd = {**entry, "inputs": {1: 1, "a": 2}}
    assert "same" not in str(find_problems(manifest(entry, odd)))


def test_compares_schedules_in_linear_time() -> None:
    """Comparing each with each would block the control plane's event loop."""
    compared = 0

    class Entry(dict[str, Any]):
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return super().__eq__(other)

    common = {"flow": "greet", "cron": "* * * * *"}
    entries = [Entry(common, inputs={"number": number}) for number in range(100)]
    load.check(manifest(*entries))
    assert compared <= len(entries)


def test_accepts_any_flow_of_an_app() -> None:
    """Its flows are only known once it is imported."""
    entry = {"flow": "hymn", "cron": "* * * * *"}
    assert load.check(manifest(entry, app="hymn.app:app")).schedule[0].flow == "hymn"


def test_limits_of_a_flow_omit_defaults() -> None:
    """The service's limits apply to missing keys, also after a round trip through the API."""
    data = {
        "service": "hello",
        "flows": [{**FLOW, "limits": {"running": None, "retries": 2}}],
        "limits": {"running": 3, "timeout": 60},
    }
    found = load.to_data(load.check(load.to_data(load.check(data))))
    assert found["flows"][0]["limits"] == {"running": None, "retries": 2}
    assert found["limits"] == {
        **{"running": 3, "queue": None, "timeout": 60.0},
        **{"retries": 0, "retry_errors": False, "backoff": 1.0},
    }


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"running": 0}, "limits.running: must be at least 1, got 0"),
        ({"timeout": 0}, "limits.timeout: must be above 0, got 0"),
        ({"retris": 1}, "limits.retris: unknown key (hint: did you mean 'retries'?)"),
        ({"backoff": float("inf")}, "limits.backoff: must be a finite number"),
    ],
)
def test_refuses_invalid_limits(limits: dict[str, Any], problem: str) -> None:
    """Of the service and of a flow."""
    for data in ({"limits": limits}, {"flows": [{**FLOW, "limits": limits}]}):
        with pytest.raises(ManifestError) as caught:
            load.check({"service": "hello", "flows": [FLOW], **data})
        assert problem in caught.value.message


def test_times_follow_daylight_saving_time() -> None:
    """A time in the skipped hour runs after it. A time in the repeated hour runs once."""
    assert due("30 2 * * *", "Europe/Berlin", "2026-03-27T22:00Z", 3) == [
        *("03-28 01:30", "03-29 01:00", "03-30 00:30")
    ]
    assert due("30 2 * * *", "Europe/Berlin", "2026-10-24T22:00Z", 2) == [
        *("10-25 00:30", "10-26 01:30")
    ]
    assert due("0 * * * *", "Europe/Berlin", "2026-10-24T23:30Z", 3) == [
        *("10-25 00:00", "10-25 01:00", "10-25 02:00")
    ]


def test_the_latest_time_can_be_now() -> None:
    """To the second, ignoring fractions."""
    now = at("2026-10-24T22:05Z")
    assert cron.latest_until("*/5 * * * *", "UTC", now) == now
    assert cron.latest_until("*/5 * * * *", "UTC", now + 0.5) == now
    assert cron.latest_until("*/5 * * * *", "UTC", now - 0.5) == now - 300
    assert cron.next_after("*/5 * * * *", "UTC", now) == now + 300
    assert cron.due_times("*/5 * * * *", "UTC", now - 600, until_s=now, most=9) == [now - 300, now]


def test_time_zones_are_read_from_the_disk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So checking a thousand schedules is fast, instead of taking twenty seconds."""
    count = 0

    def available() -> set[str]:
        nonlocal count
        count += 1
        return {"UTC", "Europe/Berlin"}

    monkeypatch.setattr(zoneinfo, "available_timezones", available)
    cron._timezones.cache_clear()
    try:
        for _ in range(10):
            assert cron.check_timezone("Europe/Berlin") == "Europe/Berlin"
        assert count == 1
    finally:
        cron._timezones.cache_clear()
