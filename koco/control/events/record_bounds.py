"""Bounds of what is stored of steps and waits.

Services' code can send records and questions as their runners do. What is stored is listed and
shown, and a number that the store cannot hold would fail the whole call, with the events of other
executions in it.
"""

import re
from typing import Any

from koco.errors import UsageError
from koco.events.steps import StepRecord

#: The end of the year 9999 (seconds since the epoch): timestamps have four digits for the year.
_LAST_S = 253_402_300_799
#: Numbers are smaller than this, so that JSON keeps them.
_MOST = 2**53
#: The longest key: tasks within tasks make it long. And other texts (characters).
_KEY_CHARS, _NAME_CHARS, _DIGEST_CHARS, _SHOWN_CHARS = 16_384, 200, 200, 4096

_PLACE = re.compile(r"[A-Za-z0-9_./:~-]+")


def fault_of_record(record: StepRecord) -> str | None:
    """Return what is wrong with a record of a step, or None."""
    numbers = {
        "attempt": record.attempt,
        "failures": record.failures,
        "size": record.size_bytes,
        "duration": record.duration_s or 0,
    }
    for name, number in numbers.items():
        if not 0 <= number < _MOST:
            return f"its {name} is {number}"
    if not 0 <= record.started <= _LAST_S:
        return f"it started at {record.started}"
    if not _is_place(record.name, _NAME_CHARS):
        return f"it cannot have the name {_excerpt(record.name)}"
    return fault_of_place(record) or _fault_of_text("preview", record.preview)


def fault_of_place(asked: Any) -> str | None:
    """Return what is wrong with the place of a record, or of a question about a wait, or None.

    That is its key, its position, its arguments, and its digest if it has one.
    """
    if not _is_place(asked.key, _KEY_CHARS):
        return f"it cannot have the key {_excerpt(asked.key)}"
    if not 0 <= asked.position < _MOST:
        return f"its position is {asked.position}"
    digest = getattr(asked, "digest", "")
    if digest and not _is_place(digest, _DIGEST_CHARS):
        return f"it cannot have the digest {_excerpt(digest)}"
    return _fault_of_text("arguments", asked.arguments)


def require_place(asked: Any) -> None:
    """Raise UsageError if a question about a wait has an invalid place."""
    if fault := fault_of_place(asked):
        raise UsageError(f"this wait cannot be recorded: {fault}")


def _fault_of_text(name: str, text: str) -> str | None:
    if len(text) > _SHOWN_CHARS:
        return f"its {name} have {len(text)} characters"
    return None


def _is_place(text: str, most: int) -> bool:
    return len(text) <= most and _PLACE.fullmatch(text) is not None


def _excerpt(text: str) -> str:
    return f"{text[:80]!r} ({len(text)} characters)"
