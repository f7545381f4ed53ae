"""English that depends on a number."""

import re

import pytest

from koco import plurals
from tests.support.checkout import ROOT

SOURCE = ROOT / "koco"


@pytest.mark.parametrize(
    ("number", "noun", "verb", "said"),
    [
        (0, "file", "", "0 files"),
        (1, "file", "is", "1 file is"),
        (2, "runner", "is", "2 runners are"),
        (1, "execution", "waits", "1 execution waits"),
        (3, "execution", "waits", "3 executions wait"),
        (2, "more file", "has", "2 more files have"),
        (2, "process", "does", "2 processes do"),
        (2, "retry", "", "2 retries"),
    ],
)
def test_nouns_and_verbs_go_by_the_number(number: int, noun: str, verb: str, said: str) -> None:
    """One is one; none and several are many."""
    assert plurals.counted(number, noun, verb) == said


def test_nobody_makes_plurals_by_hand() -> None:
    """`{"" if n == 1 else "s"}` is forgotten in the next message."""
    by_hand = re.compile(r"""['"]s?['"] if [^{}]*(?:== 1|> 1) else|\{'s' \*""")
    found = [
        f"{path.name}:{number}"
        for path in SOURCE.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if by_hand.search(line)
    ]
    assert found == []
