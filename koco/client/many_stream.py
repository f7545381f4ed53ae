"""Follow the events of many executions as one stream, across broken connections and restarts."""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from koco.client.event_lines import EventLines
from koco.client.stream import SILENCE_S
from koco.client.transport import Query, Transport
from koco.errors import AnswerError, KocoError, UnreachableError

_SEQ = b'"seq":'
_MARK = b'{"cursor":'


class LineOfMany(NamedTuple):
    """An event's line, `raw` as it came and `line` as in the stream of its own execution."""

    fid: str
    flow: str
    line: bytes
    raw: bytes


class ManyStream(EventLines):
    """Events of many executions, in lists as they arrive, in the order of their times.

    From time to time the control plane sends a mark. If the connection breaks, the stream goes on
    from the last one, and leaves out what it has yielded since then: nothing is lost or repeated.

    `on_begin` is called once, with the number of executions in the stream at first.
    """

    on_begin: Callable[[int], None] | None = None

    def __init__(self, transport: Transport, *, query: Query, patience_s: float) -> None:
        super().__init__(transport)
        self._query = query
        self._patience_s = patience_s
        self._cursor = ""
        #: The last event of each execution since the last mark, by fid. And those that were known
        #: when a connection broke: the next one may repeat them, also after further marks.
        self._seen: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._has_ended = False

    def __iter__(self) -> Iterator[list[LineOfMany]]:
        self._attempts = self._transport.attempts(self._patience_s)
        while True:
            former = self._cursor
            try:
                yield from self._once()
                if self._has_ended:
                    return
                if not self._query.get("follow") and self._cursor not in ("", former):
                    continue  # a long search goes on in another request
                broken = UnreachableError(
                    f"{self._transport.url} ends the stream before it is complete"
                )
            except UnreachableError as exc:
                broken = exc
            self._attempts.pause(broken, patience_s=self._transport.patience_s(broken))

    def _once(self) -> Iterator[list[LineOfMany]]:
        """Yield new lines from one connection, until it ends or breaks."""
        headers = {"Last-Event-ID": self._cursor} if self._cursor else None
        self._before |= self._seen
        try:
            with self._transport.stream(
                "/v1/events", query=self._query, silence_s=SILENCE_S, headers=headers
            ) as incoming:
                if self.on_begin is not None:
                    count = incoming.headers.get("X-Koco-Executions", "")
                    self.on_begin(int(count) if count.isdigit() else 0)
                    self.on_begin = None
                for lines in incoming.lines():
                    self._attempts.reset()
                    if new := self._new(lines):
                        yield new
        except KocoError as exc:
            if type(exc) is not KocoError:
                raise
            # A 5xx: the next attempt may succeed. If it does not, this error is reported.
            raise UnreachableError(exc.message, hint=exc.hint) from exc

    def _new(self, lines: list[bytes]) -> list[LineOfMany]:
        """Return the new lines, and remember them."""
        found = []
        for raw in lines:
            if raw.startswith(_MARK):
                self._note_mark(raw)
                continue
            each = self._split(raw)
            seq = self.read_seq(each.line)
            if seq > max(self._seen.get(each.fid, 0), self._before.get(each.fid, 0)):
                self._seen[each.fid] = seq
                self._before.pop(each.fid, None)
                found.append(each)
        return found

    def _note_mark(self, raw: bytes) -> None:
        try:
            mark = json.loads(raw)
        except ValueError:
            mark = None
        if not (isinstance(mark, dict) and isinstance(mark.get("cursor"), str)):
            raise AnswerError(f"{self._transport.url} sends a mark that cannot be read")
        self._cursor, self._has_ended = mark["cursor"], bool(mark.get("end"))
        self._seen = {}

    def _split(self, raw: bytes) -> LineOfMany:
        """Return a line with its fid and flow, which the API writes first."""
        start, found, rest = raw.partition(_SEQ)
        try:
            about = json.loads(start.rstrip(b",") + b"}") if found else None
        except ValueError:
            about = None
        if not isinstance(about, dict) or not all(
            isinstance(about.get(name), str) for name in ("fid", "flow")
        ):
            raise AnswerError(
                f"{self._transport.url} sends an event without fid and flow",
                hint="`koco logs FID` shows one execution",
            )
        return LineOfMany(about["fid"], about["flow"], b"{" + _SEQ + rest, raw)
