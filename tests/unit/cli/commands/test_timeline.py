"""`koco timeline`: a chart at a terminal, a table in a pipe, JSON, and files of their own."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support import browser
from tests.support.long import long
from tests.support.memory_plane import TS, Plane
from tests.unit.conftest import Cli

EVIL = "<script>alert(1)</script>\x1b[31m\x00\"'&"


@pytest.fixture
def fid(plane: Plane) -> str:
    return plane.launch(
        ("meta", {"fid": "x", "flow": "hello/greet"}),
        ("status", {"status": "starting"}),
        ("status", {"status": "running"}),
        ("stdout", "one"),
        ("step", {"step": EVIL, "kind": "step", "status": "finished", "duration_s": 2.5}),
        ("lock", {"lid": "l1", "name": "approval", "data": None, "expires": TS}),
        ("lease", {"lid": "l1", "name": "approval", "outcome": "answered"}),
        ("status", {"status": "finished"}),
        finished=TS,
    )


def test_a_terminal_shows_a_chart_in_80_columns(terminal: Cli, fid: str) -> None:
    """Names from events are on one line, harmless; NO_COLOR leaves the bars."""
    ran = terminal("timeline", fid, env={"NO_COLOR": "1"})
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"{fid} hello/greet finished, ")
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in ran.out
    assert "\x00" not in ran.out
    assert re.search(r"step <script>alert.*█", ran.out)
    assert re.search(r"lock approval +.*█", ran.out)


def test_a_terminal_with_colours_has_them_on_the_bars(terminal: Cli, fid: str) -> None:
    """Colour is extra: the chart is the same."""
    ran = terminal("timeline", fid, env={"NO_COLOR": ""})
    assert "\x1b[32m" in ran.out
    assert "\x1b[31m[" not in ran.out


def test_a_pipe_gets_a_table(cli: Cli, fid: str) -> None:
    """Tab-separated, with seconds from the start."""
    ran = cli("timeline", fid)
    rows = [row.split("\t") for row in ran.out.splitlines()]
    assert rows[0] == ["kind", "name", "start_s", "duration_s", "status"]
    assert ["lock", "approval", "2.500000", "0.000000", "answered"] in rows
    assert ran.err == ""


def test_json_has_each_span(cli: Cli, fid: str) -> None:
    """With times in UTC; the default is the latest execution."""
    found = json.loads(cli("timeline", "--json").out)
    assert (found["fid"], found["status"], found["end"]) == (fid, "finished", TS)
    step = next(each for each in found["items"] if each["kind"] == "step")
    assert (step["duration_s"], step["status"], step["end"]) == (2.5, "finished", TS)
    assert found["next"] is None


def test_files_need_nothing_from_elsewhere(cli: Cli, fid: str, tmp_path: Path) -> None:
    """No script, no address; names are text, whatever is in them."""
    ran = cli("timeline", fid, "--html", "a.html", "--svg", "a.svg")
    assert (ran.code, ran.out) == (0, "")
    page = (tmp_path / "a.html").read_text()
    picture = (tmp_path / "a.svg").read_text()
    for text in (page, picture):
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        assert not re.search(r"(?:src|href)=(?!\"data:,\")", text)
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert "prefers-color-scheme:dark" in text
    assert "default-src 'none'" in page
    root = ElementTree.fromstring(picture)
    assert root.tag.endswith("svg")
    assert "approval" in "".join(root.itertext())


@long
def test_a_browser_shows_the_files_and_fetches_nothing(cli: Cli, fid: str, tmp_path: Path) -> None:
    """The console stays empty, whatever is in the names; another page shows that it would tell."""
    browser.install()
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("oh no")</script>')
    seen = browser.open_file(bad)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]
    assert [text for text in seen.console if "oh no" in text]
    assert cli("timeline", fid, "--html", "a.html", "--svg", "a.svg").code == 0
    for name in ("a.html", "a.svg"):
        for options in ((), ("--force-dark-mode",)):
            seen = browser.open_file(tmp_path / name, *options)
            assert (seen.requests, seen.console) == ([], [])
            assert "lock approval" in seen.document
            assert "&lt;script&gt;alert(1)" in seen.document
            assert "<script" not in seen.document


def test_a_running_execution_can_be_drawn(plane: Plane, terminal: Cli) -> None:
    """Its bars are open."""
    plane.launch(("meta", {}), ("status", {"status": "running"}))
    ran = terminal("timeline", env={"NO_COLOR": "1"})
    assert "so far" in ran.out
    assert "▶" in ran.out


def test_a_file_that_cannot_be_written_is_an_error(cli: Cli, fid: str) -> None:
    """It says which, and why."""
    ran = cli("timeline", fid, "--html", "no/a.html")
    assert ran.code != 0
    assert "cannot write no/a.html: No such file or directory" in ran.err
