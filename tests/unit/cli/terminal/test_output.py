"""Output at a terminal and in a pipe."""

import io
import sys
from typing import Any

import pytest

from koco.cli.terminal import output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal of 80 columns in place of stdout.

    Called by the test, no fixture: pytest puts its own in place after those.
    """
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nand more", "plain\ttext\nand more"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("over\rwritten", "over\\x0dwritten"),
        ("a line\r\n", "a line\n"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("Grüße, 世界 🎉", "Grüße, 世界 🎉"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    """Escape, C1, carriage return, those that turn text around; all else is left alone."""
    assert output.harmless(text) == shown


def test_json_for_a_terminal_stays_the_same_value() -> None:
    """Escaped, so that text copied from the screen is still right."""
    assert output.harmless_json('"\x9b31m\u202e"') == '"\\u009b31m\\u202e"'


@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], coloured: bool
) -> None:
    """With NO_COLOR or a dumb terminal there is no colour."""
    terminal(monkeypatch)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in output.paint("text", output.RED)) is coloured


def test_a_pipe_gets_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the environment says."""
    assert output.paint("text", output.RED) == "text"


def test_a_piped_table_has_tabs_and_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """A cell's own tabs and newlines cannot make another column or row."""
    output.print_table(("a", "b"), [("1", "two\twords\nmore")])
    assert capsys.readouterr().out == "a\tb\n1\ttwo words more\n"


def test_a_drawn_table_shrinks_only_one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """The widest column gives way; a fid is never cut."""
    screen = terminal(monkeypatch)
    rows = [("abcdefghijklmnop", "service/" + "flow" * 30, "finished", "12s ago")]
    output.print_table(("FID", "FLOW", "STATUS", "CREATED"), rows, widest="FLOW")
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2
    assert all(len(output.harmless(line)) <= 80 or "\x1b" in line for line in lines)
    assert "abcdefghijklmnop" in lines[1]
    assert "finished" in lines[1]
    assert "…" in lines[1]


def test_a_drawn_cell_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow's summary is somebody's text."""
    screen = terminal(monkeypatch)
    output.print_table(("A",), [("x\x1b]0;title\x07",)])
    assert "\x1b]" not in screen.getvalue()


def test_drawn_markdown_has_no_hyperlinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link's target is shown, not hidden behind its text."""
    screen = terminal(monkeypatch)
    output.print_markdown("# Title\n\n[koco](http://evil.test)")
    assert "\x1b]8" not in screen.getvalue()
    assert "evil.test" in screen.getvalue()


def test_prints_an_error_after_its_detail(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback first, so that the error and the hint are last on the screen."""
    from koco.errors import DeployError

    output.print_error(DeployError("it failed", detail="Traceback\nKeyError: 1\n", hint="mend it"))
    assert capsys.readouterr().err == ("Traceback\nKeyError: 1\nerror: it failed\nhint: mend it\n")


def test_any_text_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone surrogate or an ASCII terminal does not make it fail."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    output.prepare()
    output.print_line("\ud800 and ü")
    stream.flush()
    raw: Any = stream.buffer
    assert raw.getvalue() == b"\\ud800 and \\xfc\n"


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """CI logs are not flooded."""
    with output.progress("uploading", 10) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.csv", "a.csv"),
        ("naïve ☃.csv", "naïve ☃.csv"),
        ("a\nb  live", "a\\nb  live"),
        ("a\r\tb", "a\\r\\tb"),
        ("a\x1b[2Jb\x85c", "a\\x1b[2Jb\\x85c"),
        ("a\u2028b\u202ec", "a\\u2028b\\u202ec"),
    ],
)
def test_a_name_stays_on_its_line(name: str, shown: str) -> None:
    """Whatever it was called, and wherever the line goes."""
    assert output.inline(name) == shown
