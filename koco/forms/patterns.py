"""Patterns that a form's author wrote, matched against what somebody else typed.

Python's engine may take longer than the universe lasts over forty characters
(`(a+)+b`), cannot be interrupted, and holds everything else in its process up. So a
match that might take long is made in a process of its own, which has a second.
"""

import functools
import json
import re
import subprocess
import sys

#: How long a match may take that was not known to be quick (seconds).
PATIENCE_S = 1.0

#: Steps that the engine takes in some milliseconds.
_QUICK_STEPS = 1_000_000

#: An escape, or a set of characters: one character of the text, whatever it says.
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)

#: What makes a match try more than one way.
_CHOICE = re.compile(r"[*+?|]|\{[0-9]*,[0-9]*\}")
_LOOP = re.compile(r"[*+]|\{[0-9]*,[0-9]*\}")

#: A group that is repeated; with the flag `x`, blanks may hide that it is.
_REPEATED_GROUP = re.compile(r"\)(?:[*+]|\{)|\(\?[a-zA-Z]*x")

_PROGRAM = (
    "import json, re, sys; pattern, text = json.load(sys.stdin); "
    "print(re.fullmatch(pattern, text) is not None)"
)


def matches(pattern: str, text: str) -> bool:
    """Say whether a pattern matches the whole text.

    Raises:
        TimeoutError: that was not found out in time.
    """
    if _steps(pattern, len(text)) <= _QUICK_STEPS or not sys.executable:
        return re.fullmatch(pattern, text) is not None
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            input=json.dumps([pattern, text]).encode(),
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return done.stdout.strip() == b"True"


def is_quick(pattern: str, text: str) -> bool:
    """Say whether `matches` answers at once, in this process."""
    return _steps(pattern, len(text)) <= _QUICK_STEPS


def _steps(pattern: str, length: int) -> float:
    """Return how many steps matching a text of that length may take, at the worst."""
    choices, loops, is_nested = _shape(pattern)
    if not choices:
        return length
    # Within a repeated group each character may double the ways; else each loop has its end.
    return 2.0 ** min(length, 1000) if is_nested else float(length) ** min(loops, 40)


@functools.lru_cache(maxsize=1024)
def _shape(pattern: str) -> tuple[int, int, bool]:
    """Return how many choices and loops a pattern has, and whether groups are repeated."""
    bare = _ATOM.sub("x", pattern)
    nested = _REPEATED_GROUP.search(bare) is not None
    return len(_CHOICE.findall(bare)), len(_LOOP.findall(bare)), nested
