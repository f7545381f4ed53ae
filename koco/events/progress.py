"""How far a flow says it is: the payload of `progress` events."""

from typing import Any

import msgspec

from koco.errors import UsageError

#: The longest message that lists show; the rest of a longer one is only in the event (characters).
MESSAGE_LENGTH = 200
#: The largest number: any larger one would lose digits in JSON.
_LARGEST = 2**53


class Progress(msgspec.Struct, frozen=True):
    """How far a flow is: `done` of `total`, if there is a total, and what it does just now."""

    done: int | float
    total: int | float | None = None
    message: str | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the payload of its event, without what is not known."""
        known = {"done": self.done, "total": self.total, "message": self.message}
        return {name: value for name, value in known.items() if value is not None}


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


def _number(name: str, given: Any) -> int | float:
    """Return a number from 0 on. Numbers of other libraries, such as NumPy's, are numbers."""
    is_number = hasattr(given, "__index__") or hasattr(given, "__float__")
    if isinstance(given, bool) or not is_number:
        raise UsageError(f"progress: {name} is a number, got {type(given).__name__}")
    try:
        # Plain numbers, also of those that only inherit from one.
        number = int(given) if hasattr(given, "__index__") else float(given)
    except (TypeError, ValueError, OverflowError) as exc:
        raise UsageError(f"progress: {name} is a number, got {type(given).__name__}") from exc
    if not 0 <= number <= _LARGEST:  # false for NaN
        shown = "one beyond" if abs(number) > _LARGEST else number
        raise UsageError(f"progress: {name} is a number from 0 to 2^53, got {shown}")
    return number
