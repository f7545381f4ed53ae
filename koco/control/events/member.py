"""One of the executions whose events are sent as one stream: its next lines, and its place."""

from collections import deque
from typing import NamedTuple

import msgspec

from koco.control.events.chunk_reader import READ_BYTES, Piece, Pieces, Place, Wanted
from koco.store.model import Execution

_TS = b'"ts":"'
_KIND = b'"kind":"'


class Line(NamedTuple):
    """An event as `{"seq":…,"ts":…,"kind":…` with its time; `is_whole` unless it goes on."""

    ts: bytes
    seq: int
    text: bytes
    is_whole: bool = True

    @property
    def kind(self) -> bytes:
        """The kind of the event."""
        return self.text.partition(_KIND)[2].partition(b'"')[0]


class Member:
    """An execution in a stream of many, and the lines of it that were read and not yet sent."""

    def __init__(self, execution: Execution, *, since: int = 0) -> None:
        self.id = execution.id
        self.fid = execution.fid
        self.created = execution.created.encode()
        self.until = execution.last_seq
        #: How each of its lines begins.
        self.start = b'{"fid":"%b","flow":%b,' % (
            execution.fid.encode(),
            msgspec.json.encode(execution.flow),
        )
        self.lines: deque[Line] = deque()
        #: Whether all of it was read, up to the final status.
        self.has_ended = execution.status.is_final and since >= execution.last_seq
        self._place = Place(since)

    @property
    def sent(self) -> int:
        """The seq of the last event that was sent whole or is not wanted."""
        if self.lines:
            return self.lines[0].seq - 1
        # Within a large batch, only the line's number says how far it was read.
        return max(self._place.since, self._place.seq - 1)

    async def read(self, pieces: Pieces, wanted: Wanted, *, budget_bytes: int) -> bool:
        """Read some of the next lines, perhaps none that is wanted; False if there are no more."""
        read_bytes = READ_BYTES if wanted.text else budget_bytes
        piece = await pieces.after(self, self._place, wanted, budget_bytes=read_bytes)
        if piece is None:
            return False
        self._take(piece, piece.data, budget_bytes)
        return True

    async def rest(self, pieces: Pieces, wanted: Wanted) -> tuple[bytes, bool]:
        """Return more of the line that goes on, and whether that is its end."""
        piece = await pieces.after(self, self._place, wanted)
        if piece is None:
            return b"", True  # the execution was deleted
        text, end, others = piece.data.partition(b"\n")
        self._take(piece, others, READ_BYTES)
        return text, bool(end)

    def _take(self, piece: Piece, data: bytes, budget_bytes: int) -> None:
        """Keep the lines in a piece, as many as the budget allows, and the place after them."""
        self._place, self.has_ended = piece.place, piece.ends
        texts = data.split(b"\n")
        goes_on = texts.pop()
        for text in texts:
            budget_bytes -= len(text)
            self.lines.append(_line(text))
            if budget_bytes < 0 and self.lines[-1].seq < piece.place.since:
                # Of a search, more was read than may be kept. The rest is read again.
                self._place, self.has_ended = Place(self.lines[-1].seq), False
                return
        if goes_on:
            self.lines.append(_line(goes_on)._replace(is_whole=False))


def _line(text: bytes) -> Line:
    digits = text[7:27].partition(b",")[0]
    ts = text.find(_TS) + len(_TS)
    return Line(text[ts : ts + 27], int(digits), text)
