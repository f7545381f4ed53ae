"""A program on a whole terminal: what its screen shows, and keys for it."""

import re
import time
from collections.abc import Callable, Sequence

import pyte

from tests.support.typist import Typist

#: Changes between the two screens of a terminal.
_OTHER_SCREEN = re.compile(rb"\x1b\[\?1049[hl]")
#: What is between these is one change of the screen: a terminal shows all of it, or none yet.
_BEGIN, _END = b"\x1b[?2026h", b"\x1b[?2026l"


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
        self._count = 0
        self._unshown = b""

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
            assert time.monotonic() < deadline, f"this is not what it should be:\n{self._shown()}"
            assert self._read(deadline), f"it has ended:\n{self._shown()}"
        return self.lines

    def written(self, during_s: float) -> int:
        """Return how many bytes the program writes in a time."""
        until, before = time.monotonic() + during_s, self._count
        while time.monotonic() < until:
            assert self._read(until), f"it has ended:\n{self._shown()}"
        return self._count - before

    def _take(self, piece: bytes) -> None:
        self._count += len(piece)
        self._unshown += piece
        # A read can end anywhere: in the middle of a change, or of what says that one begins.
        whole = len(self._unshown)
        if (begin := self._unshown.rfind(_BEGIN)) > self._unshown.rfind(_END):
            whole = begin
        elif (escape := self._unshown.rfind(b"\x1b", -len(_BEGIN))) >= 0:
            whole = escape if _BEGIN.startswith(self._unshown[escape:]) else whole
        shown, self._unshown = self._unshown[:whole], self._unshown[whole:]
        # pyte knows no second screen: what is on the other one is gone.
        self._stream.feed(_OTHER_SCREEN.sub(b"\x1b[2J\x1b[H", shown))

    def _shown(self) -> str:
        return "\n".join(self.lines)
