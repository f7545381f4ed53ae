"""A program on a whole terminal: what its screen shows, and keys for it."""

import os
import re
import select
import time
from collections.abc import Callable, Sequence

import pyte

from tests.support.typist import Typist

#: Changes between the two screens of a terminal.
_OTHER_SCREEN = re.compile(rb"\x1b\[\?1049[hl]")


class Screen(Typist):
    """A typist who sees the screen as it is, not all that was ever written to it."""

    def __init__(
        self,
        args: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        env: dict[str, str] | None = None,
    ) -> None:
        super().__init__(args, columns=columns, rows=rows, env=env)
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, without spaces at their ends."""
        return [line.rstrip() for line in self.screen.display]

    def shows(self, *texts: str, within_s: float = 30) -> list[str]:
        """Wait until the screen shows all texts; return its lines."""
        return self.until(lambda lines: all(text in "\n".join(lines) for text in texts), within_s)

    def hides(self, text: str, *, within_s: float = 30) -> list[str]:
        """Wait until the screen no longer shows a text; return its lines."""
        return self.until(lambda lines: text not in "\n".join(lines), within_s)

    def until(self, is_right: Callable[[list[str]], bool], within_s: float = 30) -> list[str]:
        """Wait until the screen is as it should be; return its lines."""
        deadline = time.monotonic() + within_s
        while not is_right(self.lines):
            shown = "\n".join(self.lines)
            assert time.monotonic() < deadline, f"this is not what it should be:\n{shown}"
            assert self._feed(deadline), f"it has ended:\n{shown}"
        return self.lines

    def presses(self, keys: str) -> None:
        """Press keys, whatever is shown."""
        os.write(self._ours, keys.encode())

    def ends(self, *, within_s: float = 30) -> int:
        """Wait until the program ends; return its exit code."""
        deadline = time.monotonic() + within_s
        while self._feed(deadline):
            assert time.monotonic() < deadline, "it goes on:\n" + "\n".join(self.lines)
        return self.process.wait(within_s)

    def written(self, during_s: float) -> int:
        """Return how many bytes the program writes in a time."""
        until, count = time.monotonic() + during_s, 0
        while (left := until - time.monotonic()) > 0:
            if select.select([self._ours], [], [], left)[0]:
                piece = os.read(self._ours, 65536)
                self._stream.feed(piece)
                count += len(piece)
        return count

    def _feed(self, deadline: float) -> bool:
        if not select.select([self._ours], [], [], min(0.5, max(0, deadline - time.monotonic())))[
            0
        ]:
            return True
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # its other end was closed
            return False
        # pyte knows no second screen: what is on the other one is gone.
        self._stream.feed(_OTHER_SCREEN.sub(b"\x1b[2J\x1b[H", piece))
        return bool(piece)
