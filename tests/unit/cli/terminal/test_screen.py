"""The screen that tests look at shows a change as a terminal does: wholly, or not yet."""

import pytest

from tests.support.screen import Screen

_PROGRAM = r"""
import sys, time
for piece in {pieces!r}:
    sys.stdout.write(piece)
    sys.stdout.flush()
    time.sleep(0.1)
"""


@pytest.mark.parametrize(
    "pieces",
    [
        ["\x1b[?2026h", "one\n", "two\n", "\x1b[?2026l"],
        ["\x1b[?20", "26hone\n", "two\n\x1b[?2", "026l"],
        ["\x1b", "[?2026hone\ntwo", "\x1b[?2026l"],
    ],
)
def test_a_change_is_seen_wholly(pieces: list[str]) -> None:
    """However the pieces of it come."""
    with Screen(["-c", _PROGRAM.format(pieces=["zero\n", *pieces])]) as screen:
        assert screen.shows("zero")[:3] == ["zero", "", ""]
        assert screen.shows("one")[:3] == ["zero", "one", "two"]


def test_colours_between_changes_are_shown_at_once() -> None:
    with Screen(["-c", _PROGRAM.format(pieces=["\x1b[1mone\x1b[0m", "\n"])]) as screen:
        assert screen.shows("one")[:2] == ["one", ""]
