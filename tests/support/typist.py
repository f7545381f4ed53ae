"""Somebody at a terminal: types at a program, and sees what it shows."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

#: What a terminal makes the signal SIGINT of.
CTRL_C = "\x03"

#: What readline sends besides text: bracketed paste on and off.
_EDITING = re.compile(r"\x1b\[\?2004[hl]\r?")


class Typist:
    """A program whose stdin and stderr (stdout, too, unless `stdout` is a file) are a terminal.

    It is the program's controlling terminal, so that Ctrl-C is the signal and a password
    is read where one is.
    """

    def __init__(
        self,
        args: Sequence[str],
        *,
        stdout: Path | None = None,
        env: dict[str, str] | None = None,
        columns: int = 80,
        rows: int = 24,
        cwd: Path | None = None,
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        out = os.open(stdout, os.O_WRONLY | os.O_CREAT) if stdout else theirs
        self.process = subprocess.Popen(
            [sys.executable, *args],
            stdin=theirs,
            stdout=out,
            stderr=theirs,
            cwd=cwd,
            env={
                **os.environ,
                # The terminal's own size counts, not that of whoever runs the tests.
                **{"COLUMNS": "", "LINES": ""},
                "TERM": "xterm",
                "LC_ALL": "C.UTF-8",
                "NO_COLOR": "1",
                **(env or {}),
            },
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads
        )
        for each in {theirs, out}:
            os.close(each)
        self.seen = ""
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def sees(self, text: str, *, within_s: float = 60) -> str:
        """Wait until the terminal shows a text after the last one seen; return what came."""
        deadline = time.monotonic() + within_s
        while (at := self.seen.find(text, self._at)) < 0:
            assert time.monotonic() < deadline, f"{text!r} is not in {self._shown()!r}"
            if not self._read(deadline):
                raise AssertionError(f"{text!r} is not in {self._shown()!r}, and all of it")
        came, self._at = self.seen[self._at : at + len(text)], at + len(text)
        return came

    def types(self, text: str, *, after: str = "> ") -> None:
        r"""Wait for the prompt, then type; `\udcff` is the byte 0xff."""
        self.sees(after)
        if text == CTRL_C:
            # CPython notices a signal between a prompt and the wait for a key at the next key.
            time.sleep(0.1)
        os.write(self._ours, text.encode("utf-8", "surrogateescape"))

    def presses(self, keys: str) -> None:
        """Press keys, whatever the terminal shows."""
        os.write(self._ours, keys.encode())

    def leaves(self, *, within_s: float = 60) -> int:
        """Wait until the program ends; return its exit code."""
        deadline = time.monotonic() + within_s
        while self._read(deadline):
            assert time.monotonic() < deadline, f"it goes on: {self._shown()!r}"
        return self.process.wait(within_s)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0]:
            return True
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # its other end was closed
            return False
        self._take(piece)
        return bool(piece)

    def _take(self, piece: bytes) -> None:
        self.seen = _EDITING.sub("", self.seen + piece.decode(errors="replace"))
        self.seen = self.seen.replace("\r\n", "\n")

    def _shown(self) -> str:
        return self.seen[self._at :]
