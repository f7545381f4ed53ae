"""Notices: the bell, a terminal's own, or the desktop's."""

import os
import pty
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from koco.cli.terminal import notify

Shown = Callable[[dict[str, str]], str]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Return a function that shows a notice, and returns what the terminal got."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "TMUX", "VTE_VERSION", "TERM"):
        monkeypatch.delenv(name, raising=False)

    def show(env: dict[str, str]) -> str:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        ours, theirs = pty.openpty()
        with os.fdopen(theirs, "w") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            notify.notify("koco", "abc; \x1b[2J done\a")
            stderr.write("|")
            stderr.flush()
            text = ""
            while not text.endswith("|"):
                text += os.read(ours, 4096).decode()
        os.close(ours)
        return text

    return show


TEXT = "abc; \\x1b[2J done\\x07"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "\a|"),
        ({"TERM": "dumb"}, "\a|"),
        ({"TERM": "xterm-256color"}, f"\a\x1b]9;koco: {TEXT}\x1b\\|"),
        ({"TERM": "foot"}, f"\a\x1b]777;notify;koco;{TEXT}\x1b\\|"),
        ({"TERM": "xterm", "VTE_VERSION": "7200"}, f"\a\x1b]777;notify;koco;{TEXT}\x1b\\|"),
        (
            {"TERM": "screen", "TMUX": "/tmp/x"},
            f"\a\x1bPtmux;\x1b\x1b]9;koco: {TEXT}\x1b\x1b\\\x1b\\|",
        ),
    ],
)
def test_a_terminal_rings_and_shows_a_notice(
    shown: Shown, env: dict[str, str], expected: str
) -> None:
    """In the form that it knows; control characters of the text are not obeyed."""
    assert shown(env) == expected


def test_a_desktop_shows_it_instead(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `notify-send`; over ssh the terminal does, because the desktop is elsewhere."""
    script = tmp_path / "notify-send"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/args\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    desktop = {"TERM": "xterm", "DISPLAY": ":0"}
    assert shown(desktop) == "\a|"
    assert (tmp_path / "args").read_text().splitlines() == ["--app-name=koco", "--", "koco", TEXT]
    assert "]9;" in shown({**desktop, "SSH_CONNECTION": "1 2 3 4"})
    script.write_text("#!/bin/sh\nexit 1\n")
    assert shown({**desktop, "SSH_CONNECTION": ""}) == "\a|"


def test_without_a_terminal_there_is_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe or a log gets no bell."""
    monkeypatch.setenv("SSH_CONNECTION", "x")
    notify.notify("koco", "done")
    assert capfd.readouterr() == ("", "")
