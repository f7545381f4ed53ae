"""`koco logs` of many executions, against the real API."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_server import Api, serving
from tests.support.written import Written
from tests.unit.conftest import Cli, Use

SOON = 2_000_000_000


@pytest.fixture
def api(tmp_path: Path, use: Use) -> Iterator[Api]:
    with serving(tmp_path / "data") as api:
        use(api.url, "ada")
        yield api


def follow(*args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "koco", "logs", "-f", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )


def test_several_are_one_stream_in_order(api: Api, cli: Cli) -> None:
    """Each line has flow and fid before it, and nothing else is printed."""
    one, two = Written(api, "svc/a"), Written(api, "svc/longer")
    one.write("first", now=SOON)
    two.write("second\nand more", now=SOON + 1)
    one.write("third", now=SOON + 2, ends=True)
    ran = cli("logs", one.fid, two.fid)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"svc/a      {one.fid[:6]} │ first\n"
        f"svc/longer {two.fid[:6]} │ second\n"
        f"svc/longer {two.fid[:6]} │ and more\n"
        f"svc/a      {one.fid[:6]} │ third\n"
    )
    assert cli("logs", "--service", "svc").out == ran.out
    assert cli("logs", "--flow", "svc/a", "-n", "3").out == f"svc/a {one.fid[:6]} │ third\n"
    assert cli("logs", "--status", "failed").out == ""
    with_time = cli("logs", "--all", "-t").out.splitlines()[0]
    assert re.fullmatch(rf"svc/a      {one.fid[:6]} │ 2033-\S+Z first", with_time)


def test_search_shows_only_the_lines_with_the_text(api: Api, cli: Cli) -> None:
    """Of one execution as of all; nothing found is no error."""
    one, two = Written(api, "svc/a"), Written(api, "svc/b")
    one.write("A Timeout", "fine")
    two.write("timeout again", ends=True)
    assert cli("logs", one.fid, "--search", "timeout").out == f"svc/a {one.fid[:6]} │ A Timeout\n"
    assert len(cli("logs", "--search", "TIMEOUT").out.splitlines()) == 2
    assert cli("logs", "--search", "nowhere") == cli("logs", "--status", "error")


def test_json_is_the_lines_as_they_came(api: Api, cli: Cli) -> None:
    """Each event has fid and flow; marks of the stream are not shown."""
    one = Written(api, "svc/a")
    one.write("x", ends=True)
    events = [json.loads(text) for text in cli("logs", "--all", "--json").out.splitlines()]
    assert [each["seq"] for each in events] == list(range(1, 7))
    assert {(each["fid"], each["flow"]) for each in events} == {(one.fid, "svc/a")}


def test_a_terminal_has_coloured_prefixes(api: Api, terminal: Cli) -> None:
    """One colour for each execution; none with NO_COLOR."""
    one = Written(api, "svc/a")
    one.write("x", ends=True)
    shown = terminal("logs", "--all").out
    assert re.search(rf"\x1b\[\d+msvc/a {one.fid[:6]} │\x1b\[0m x\n", shown)
    assert f"svc/a {one.fid[:6]} │ x\n" in terminal("logs", "--all", env={"NO_COLOR": "1"}).out


def test_following_named_ones_ends_with_the_worst_outcome(api: Api) -> None:
    """When all of them have ended."""
    one, two = Written(api), Written(api)
    process = follow(one.fid, two.fid)
    one.write("x", ends=True)
    api.call(api.parts.supervisor.cancel(two.fid, grace_s=0))
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 7
    assert out == f"svc/flow {one.fid[:6]} │ x\n"


def test_following_a_filter_that_matches_nothing_waits(api: Api) -> None:
    """It says so on stderr; what comes to match is shown as it comes."""
    process = follow("--service", "new")
    assert process.stderr is not None and process.stdout is not None
    assert "no execution matches yet" in process.stderr.readline()
    Written(api, "else/where").write("no")
    new = Written(api, "new/flow")
    new.write("yes", ends=True)
    assert process.stdout.readline() == f"new/flow {new.fid[:6]} │ yes\n"
    process.send_signal(2)
    assert process.wait(10) == 130
    process.communicate()


@pytest.mark.parametrize(
    "args",
    [
        ("x", "--service", "svc"),
        ("x", "--since", "1h"),
        ("--service", "svc", "--since", "7"),
        ("--service", "svc", "--children"),
        ("--search", ""),
    ],
)
def test_refuses_what_contradicts_itself(api: Api, cli: Cli, args: tuple[str, ...]) -> None:
    """Fids with filters, an event's number for many, children of many."""
    ran = cli("logs", *args)
    assert ran.code == 2 and ran.err.startswith("error:")
