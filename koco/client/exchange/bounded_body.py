"""Limit the size of a server's answers as they arrive.

Their time is limited below, where each byte arrives (`koco.client.http`). So no server can cost
more memory or time than these limits, whatever the request.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from koco.client.exchange.memory_budget import Room, TooLargeError
from koco.client.http.pace import Pace
from koco.errors import UnreachableError
from koco.sizes import format_size

if TYPE_CHECKING:
    from koco.client.http.session import Response

#: The largest line of a stream (bytes): an event of 64 MB and the JSON around it.
LINE_BYTES = 66 << 20

_STRANGE = "does that URL belong to something else?"
_PLAIN = "does a proxy compress its answers? It must pass on `identity`"


def whole(response: "Response", room: Room) -> bytearray:
    """Return the body of an answer.

    Raises:
        TooLargeError: there is no room for it, or it is compressed although that was not requested.
    """
    require_plain(response)
    held = bytearray()
    for piece in response.pieces():
        held += piece
        room.take_text(len(piece))
    return held


def require_plain(response: "Response") -> None:
    """Raise `TooLargeError` for a compressed answer: a kilobyte of it may become a gigabyte."""
    coding = response.headers.get("Content-Encoding") or "identity"
    if coding.strip().lower() != "identity":
        raise TooLargeError(f"{coding[:40]!r}, which was not requested", _PLAIN)


def lines(pieces: Iterable[bytes], pace: Pace) -> Iterator[list[bytes]]:
    """Yield complete lines that are not blank.

    The pace restarts with each piece that ends a line.

    Raises:
        TooLargeError: a line has no end.
        UnreachableError: the last line is incomplete.
    """
    begun = bytearray()
    for piece in pieces:
        end = piece.rfind(b"\n")
        if len(begun) + (end if end >= 0 else len(piece)) > LINE_BYTES:
            raise TooLargeError(f"a line of more than {format_size(LINE_BYTES)}", _STRANGE)
        if end < 0:
            begun += piece
            continue
        # Joined once per line end, because repeated joining makes a line of many megabytes slow.
        begun += piece[:end]
        text, begun = bytes(begun), bytearray(piece[end + 1 :])
        pace.restart()
        yield [line for line in text.split(b"\n") if line]
    if begun:
        raise UnreachableError("the answer ends in the middle of a line")
