"""Tell a person who looks elsewhere: by the terminal's bell and, where there is one, the desktop.

Nothing here may fail: the notice is a courtesy, and the exit code belongs to the outcome.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from koco.cli.terminal import output

#: The longest text of a notice (characters), and the longest time to hand it over (seconds).
_LONGEST = 200
_SHOW_S = 5.0

#: Terminals that take the notices of rxvt (OSC 777); most others that have any take OSC 9.
_OF_RXVT = ("rxvt", "foot", "contour")


def notify(title: str, text: str) -> None:
    """Ring the bell of the terminal, and show a notice on the desktop if there is one."""
    title, text = output.inline(title)[:_LONGEST], output.inline(text)[:_LONGEST]
    command = _desktop(title, text, os.environ)
    if output.is_terminal(sys.stderr):
        notice = "" if command else _notice(title, text, os.environ)
        with contextlib.suppress(OSError):
            sys.stderr.write(f"\a{notice}")
            sys.stderr.flush()
    if command:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_SHOW_S,
                check=False,
            )


def _desktop(title: str, text: str, env: Mapping[str, str]) -> list[str]:
    """Return the command that shows a notice on this machine's desktop; empty without one."""
    if env.get("SSH_CONNECTION"):
        return []  # the desktop is elsewhere, and the terminal may know it
    if sys.platform == "darwin" and (found := shutil.which("osascript")):
        script = "display notification (item 2 of argv) with title (item 1 of argv)"
        lines = ("on run argv", script, "end run")
        return [found, *(word for line in lines for word in ("-e", line)), title, text]
    has_desktop = env.get("WAYLAND_DISPLAY") or env.get("DISPLAY")
    if has_desktop and (found := shutil.which("notify-send")):
        return [found, "--app-name=koco", "--", title, text]
    return []


def _notice(title: str, text: str, env: Mapping[str, str]) -> str:
    """Return the control sequence that makes a terminal show a notice. Others ignore it."""
    term = env.get("TERM", "")
    if term in ("", "dumb", "linux"):
        return ""
    if env.get("VTE_VERSION") or term.startswith(_OF_RXVT):
        sequence = f"\x1b]777;notify;{title.replace(';', ',')};{text}\x1b\\"
    else:
        sequence = f"\x1b]9;{title}: {text}\x1b\\"
    if env.get("TMUX"):
        # tmux passes it on only in this wrapping, in which each escape is doubled.
        return "\x1bPtmux;{}\x1b\\".format(sequence.replace("\x1b", "\x1b\x1b"))
    return sequence
