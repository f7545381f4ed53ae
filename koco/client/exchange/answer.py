"""Answers of a control plane: complete ones, and those whose body is still to be read."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from koco.client.exchange import bounded_body
from koco.client.exchange.memory_budget import Room
from koco.client.http.pace import Pace
from koco.client.http.session import Response


class Answer(NamedTuple):
    """A complete answer. Header names are case-insensitive."""

    status: int
    path: str
    headers: Mapping[str, str]
    body: bytearray

    @classmethod
    def of(cls, response: Response, room: Room) -> "Answer":
        """Read a response."""
        body = bounded_body.whole(response, room)
        return cls(response.status, response.path, response.headers, body)

    @property
    def is_success(self) -> bool:
        """Whether the request succeeded."""
        return 200 <= self.status < 300


class Incoming(NamedTuple):
    """An answer with its body still to be read."""

    response: Response
    pace: Pace
    #: The headers of the control plane's answer, if the body comes from elsewhere.
    told: Mapping[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the control plane; names are case-insensitive."""
        return self.response.headers if self.told is None else self.told

    def lines(self) -> Iterator[list[bytes]]:
        """Yield the complete lines as they arrive. A heartbeat is an empty list.

        Raises:
            UnreachableError: the last line is incomplete, although the answer ends in good order: a
                server between here and the control plane cut it.
        """
        return bounded_body.lines(self.response.pieces(), self.pace)

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """Yield the body in pieces of that size; the last one may be shorter."""
        return self.response.pieces(size_bytes)
