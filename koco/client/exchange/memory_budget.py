"""Limit how much of a server's answers is kept in memory, as text and as decoded values."""

import json
from typing import Any, NoReturn

from koco.sizes import format_size

#: The largest answer (bytes), and the largest that may hold an event's payload: `max_event_kb`
#: allows 64 MB of it.
ANSWER_BYTES = 32 << 20
PAYLOAD_BYTES = 128 << 20

#: The memory for decoded values (bytes): `[{},{}` takes thirty times its size as text.
VALUE_BYTES = 256 << 20

#: The rough cost of each of these characters as Python objects (bytes).
_COSTS = ((b"{", 200), (b"[", 60), (b",", 32), (b'"', 25))

#: The extra room for each requested item, as text and as a value (bytes).
_ITEM_TEXT_BYTES, _ITEM_VALUE_BYTES = 4 << 10, 16 << 10

_LESS = "if the command has `--limit`, request less at once"


class TooLargeError(Exception):
    """More arrives than there is room for; the message says what, and how much may."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Room:
    """The remaining room for an answer, or for all pages of a list, as text and as values."""

    def __init__(self, text_bytes: int = ANSWER_BYTES, *, items: int = 0) -> None:
        self._most_text = self._text = text_bytes + items * _ITEM_TEXT_BYTES
        self._most_values = self._values = VALUE_BYTES + items * _ITEM_VALUE_BYTES

    def take_text(self, count: int) -> None:
        """Take room for that many bytes; raises TooLargeError if there is none."""
        self._text -= count
        if self._text < 0:
            raise TooLargeError(f"more than {format_size(self._most_text)}", _LESS)

    def take_value(self, text: bytes | bytearray) -> None:
        """Take room for the value of a JSON text; raises TooLargeError if there is none."""
        self._values -= len(text) + sum(cost * text.count(sign) for sign, cost in _COSTS)
        if self._values < 0:
            what = f"values that take more than {format_size(self._most_values)}"
            raise TooLargeError(what, _LESS)


def decode(text: bytes | bytearray, room: Room | None) -> Any:
    """Return the value of a JSON text. A short text needs no room.

    Raises:
        ValueError: it is not JSON.
        TooLargeError: there is no room for the value.
    """
    if room is not None:
        room.take_value(text)
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
