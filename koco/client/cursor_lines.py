"""Follow a stream whose lines carry cursors, across broken connections and restarts."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from koco.client.exchange.memory_budget import Room, TooLargeError, decode
from koco.client.stream import SILENCE_S
from koco.client.transport import Query, Transport
from koco.errors import AnswerError, KocoError, UnreachableError

Kind = TypeVar("Kind")


class CursorLines(Generic[Kind]):
    """Lines as values of a kind that has a `cursor`, in lists as they arrive.

    If the connection breaks, it goes on after the last one, so nothing is lost or repeated. Lines
    without a cursor go on with what comes then, so some may be lost.
    """

    def __init__(
        self, transport: Transport, path: str, kind: type[Kind], *, query: Query, patience_s: float
    ) -> None:
        self._transport = transport
        self._path = path
        self._kind = kind
        self._query = query
        self._patience_s = patience_s
        self._cursor = ""
        self._has_begun = False

    def __iter__(self) -> Iterator[list[Kind]]:
        attempts = self._transport.attempts(self._patience_s)
        while True:
            # Of what is stored, the last ones are wanted only once.
            again = {"tail": None if self._cursor else "0"} if self._has_begun else {}
            query = {**self._query, **again}
            headers = {"Last-Event-ID": self._cursor} if self._cursor else None
            try:
                with self._transport.stream(
                    self._path, query=query, silence_s=SILENCE_S, headers=headers
                ) as incoming:
                    for lines in incoming.lines():
                        attempts.reset()
                        if lines:
                            yield [self._read(each) for each in lines]
                if not self._query.get("follow"):
                    return
                broken = UnreachableError(f"{self._transport.url} has ended the stream")
            except UnreachableError as exc:
                broken = exc
            except KocoError as exc:
                if type(exc) is not KocoError:
                    raise
                broken = UnreachableError(exc.message, hint=exc.hint)
            attempts.pause(broken, patience_s=self._transport.patience_s(broken))

    def _read(self, line: bytes) -> Kind:
        try:
            value = decode(line, Room())
        except (ValueError, TooLargeError) as exc:
            what = f"{self._transport.url} sends a line that cannot be read: {exc}"
            raise AnswerError(what) from exc
        found: Kind = self._transport.check(value, self._kind)
        self._cursor, self._has_begun = value.get("cursor", ""), True
        return found
