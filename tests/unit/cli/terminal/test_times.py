"""Times as people read them."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from koco.cli.terminal import times
from koco.time_text import read_day_or_clock
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli


class Terminal:
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have this machine stand five and three quarter hours ahead of UTC."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield "Asia/Kathmandu"
    monkeypatch.undo()
    time.tzset()


def wire(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_a_time_at_a_terminal_is_local_and_short(zone: str) -> None:
    """Today's has only the time of day; others have more of the date."""
    terminal: Any = Terminal()
    now = datetime.now().astimezone()
    assert times.at(wire(now), terminal) == f"{now:%H:%M:%S}"
    assert times.at(wire(now), terminal, is_exact=True).startswith(f"{now:%H:%M:%S}.")
    assert times.at("2019-01-31T20:00:00.123456Z", terminal) == "2019-02-01 01:45"
    exact = times.at("2019-01-31T20:00:00.123456Z", terminal, is_exact=True)
    assert exact == "2019-02-01 01:45:00.123"
    other = now - timedelta(days=1) if now.month > 1 or now.day > 1 else now + timedelta(days=1)
    assert times.at(wire(other), terminal) == f"{other.day} {other:%b %H:%M}"


@pytest.mark.parametrize("odd", ["", "soon", "2019-99-99T00:00:00Z", "9" * 400])
def test_leaves_invalid_times_unchanged(odd: str) -> None:
    """A flow may say anything of when it expects an answer."""
    terminal: Any = Terminal()
    assert times.at(odd, terminal) == odd


def test_a_time_elsewhere_stays_as_it_came(
    zone: str, plane: Plane, cli: Cli, terminal: Cli
) -> None:
    """RFC 3339 in UTC, for scripts and logs."""
    ts = "2019-01-31T20:00:00.123456Z"
    plane.launch(("stdout", "hi"), fid="x", created=ts)
    plane.status = {}
    assert f"created   {ts}\n" in cli("show", "x").out
    assert ts in cli("show", "x", "--json").out
    assert "created   2019-02-01 01:45\n" in terminal("show", "x").out
    assert terminal("show", "x", "--json").out.count(ts) == 1
    stamped = terminal("logs", "x", "-t", env={"NO_COLOR": "1"}).out
    assert stamped.endswith(":45:00.123 hi\n") and "Z" not in stamped
    assert cli("logs", "x", "-t").out.endswith("Z hi\n")


@pytest.mark.parametrize(
    ("word", "at"),
    [
        ("today", "2026-03-04T00:00"),
        ("yesterday", "2026-03-03T00:00"),
        ("wednesday", "2026-03-04T00:00"),
        ("Thu", "2026-02-26T00:00"),
        ("monday", "2026-03-02T00:00"),
        ("14:29", "2026-03-04T14:29"),
        ("9:05", "2026-03-04T09:05"),
        ("14:31", "2026-03-03T14:31"),
    ],
)
def test_days_and_times_of_day_are_of_the_past_and_local(zone: str, word: str, at: str) -> None:
    """On a Wednesday at half past two in Kathmandu."""
    now = datetime.fromisoformat("2026-03-04T14:30:00+05:45")
    found = read_day_or_clock(word, now=now)
    assert found == datetime.fromisoformat(f"{at}:00+05:45")


@pytest.mark.parametrize("word", ["tomorrow", "25:00", "12:60", "1", "", "mond"])
def test_other_words_are_no_time(word: str, plane: Plane, cli: Cli) -> None:
    """The error says what is."""
    assert read_day_or_clock(word) is None
    if word:
        assert "yesterday" in cli("ps", "--since", word, "--flow", "x").err


def test_a_day_is_sent_as_a_time_in_utc(zone: str, plane: Plane, cli: Cli) -> None:
    """Yesterday begins at midnight here."""
    cli("ps", "--since", "yesterday", "--json")
    start = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    [(_, path, _)] = [each for each in plane.requests if "executions" in each[1]]
    sent = parse_qs(path.partition("?")[2])["since"][0]
    assert sent == wire((start - timedelta(days=1)).astimezone())
