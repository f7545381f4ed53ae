"""How far a flow says it is: the payload of `progress` events."""

import math
from typing import Any

import msgspec

from koco.errors import UsageError

#: The longest message that lists show; the rest of a longer one is only in the event (characters).
MESSAGE_LENGTH = 200


class Progress(msgspec.Struct, frozen=True):
    """How far a flow is: `done` of `total`, if there is a total, and what it does just now."""

    done: float
    total: float | None = None
    message: str | None = None


def check(done: Any, total: Any = None, message: Any = None) -> Progress:
    """Return the progress that a flow reports.

    Raises:
        UsageError: it is not two numbers and a text. The message says which one is wrong.
    """
    done = _number("done", done)
    if total is not None and (total := _number("total", total)) == 0:
        raise UsageError(
            "progress: total is 0, so nothing can be a part of it",
            hint="leave total out if it is not known",
        )
    if message is not None and not isinstance(message, str):
        raise UsageError(f"progress: message is a text, got {type(message).__name__}")
    return Progress(done, total, message or None)


def read(payload: bytes) -> Progress | None:
    """Return the progress in the payload of an event, for lists; None if it has none."""
    try:
        found = msgspec.json.decode(payload, type=Progress)
        found = check(found.done, found.total, found.message)
    except (msgspec.MsgspecError, UsageError):
        return None
    if found.message is None or len(found.message) <= MESSAGE_LENGTH:
        return found
    return Progress(found.done, found.total, found.message[: MESSAGE_LENGTH - 1] + "…")


def _number(name: str, given: Any) -> float:
    """Return a number from 0 on. Numbers of other libraries, such as NumPy's, are numbers."""
    is_number = hasattr(given, "__index__") or hasattr(given, "__float__")
    if isinstance(given, bool) or not is_number:
        raise UsageError(f"progress: {name} is a number, got {type(given).__name__}")
    number: float = given if isinstance(given, int | float) else _plain(given)
    if not (math.isfinite(number) and number >= 0):
        raise UsageError(f"progress: {name} is a number from 0 on, got {number}")
    return number


def _plain(given: Any) -> float:
    return int(given) if hasattr(given, "__index__") else float(given)
