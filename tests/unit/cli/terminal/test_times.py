"""Times as people read them."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from koco.cli.terminal import times
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
