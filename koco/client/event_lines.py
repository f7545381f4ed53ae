"""Events as lines of JSON, as the API sends them: most readers need not decode them."""

from typing import Any

from koco.client import answers
from koco.client.exchange.memory_budget import Room, TooLargeError, decode
from koco.client.transport import Transport
from koco.errors import AnswerError

#: Lines longer than this (bytes) are checked for the memory that they need.
_LONG_BYTES = 1 << 20


class EventLines:
    """Reads lines of one control plane."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def decode(self, line: bytes) -> answers.Event:
        """Return a line's event: `{seq, ts, kind, payload}`.

        Raises:
            AnswerError: it is not an event.
        """
        try:
            event = decode(line, Room() if len(line) > _LONG_BYTES else None)
        except (ValueError, TooLargeError) as exc:
            what = f"{self._transport.url} sends an event that cannot be read: {exc}"
            raise AnswerError(what, hint="`--json` shows it unchanged") from exc
        kind = answers.StatusEvent if is_status(event) else answers.Event
        checked: answers.Event = self._transport.check(event, kind)
        return checked

    def read_kind(self, line: bytes) -> str:
        """Return the kind of an event's line, without reading the payload if possible.

        Raises:
            AnswerError: it is not an event.
        """
        # The API writes seq, ts and kind first, within the first 90 bytes.
        _, found, rest = line[:120].partition(b'"kind":"')
        name, end, _ = rest.partition(b'"')
        if found and end and name.isascii():
            return name.decode()
        return str(self.decode(line)["kind"])

    def read_time(self, line: bytes) -> str:
        """Return the time of an event's line, also without reading the payload.

        Raises:
            AnswerError: it is not an event.
        """
        _, found, rest = line[:60].partition(b'"ts":"')
        return rest[:27].decode() if found else str(self.decode(line)["ts"])

    def read_seq(self, line: bytes) -> int:
        """Return the number of an event's line.

        Raises:
            AnswerError: it is not an event.
        """
        # The format that the API writes. Any other format is still JSON.
        digits, comma, _ = line[7:27].partition(b",")
        if comma and digits.isdigit() and line.startswith(b'{"seq":'):
            return int(digits)
        return int(self.decode(line)["seq"])


def is_status(event: Any) -> bool:
    """Return whether an event is a status event, and so has a status."""
    return isinstance(event, dict) and event.get("kind") == "status"
