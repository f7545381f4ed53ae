"""The pieces in which events are sent: of a bounded size, and shared by readers at the same place.

If a reader stops reading, only the piece that it was being sent stays in memory. So an event that
is larger than a piece is read from the store, and sent, in parts.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from koco.events import line
from koco.events.model import Kind, Status
from koco.store.model import Chunk
from koco.store.store import Store

#: How much one read of the store may load into memory for a reader (bytes).
READ_BYTES = 128 * 1024
#: How much is cached for readers that follow the same execution (bytes).
_KEPT_BYTES = 4 * 1024 * 1024
#: A prefix of a line that is sure to include its kind, and all of a final status (bytes).
_HEAD_BYTES = 160
#: How much of an event is searched for a text (bytes). Less than one read.
SEARCHED_BYTES = 64 * 1024

_ENDS = tuple(
    f'"payload":{{"status":"{status}"}}}}'.encode() for status in Status if status.is_final
)
_STATUS = Kind.STATUS.encode()


@dataclass(frozen=True, slots=True)
class Form:
    """A format of events: for several whole lines, or for the text around a long line.

    `render` takes the lines' numbers and the lines.
    """

    render: Callable[[Sequence[int], list[bytes]], bytes]
    begin: Callable[[int, bytes], bytes]
    end: bytes
    heartbeat: bytes


def _sse(numbers: Sequence[int], lines: list[bytes]) -> bytes:
    return b"".join(
        b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, line.kind_of(text), line.with_seq(seq, text))
        for seq, text in zip(numbers, lines, strict=True)
    )


def _ndjson(numbers: Sequence[int], lines: list[bytes]) -> bytes:
    # One call for all lines takes half as long as one call for each.
    form = '{"seq":%d,%%b\n' * len(lines) % tuple(numbers)
    return form.encode() % tuple(lines)


NDJSON = Form(
    render=_ndjson,
    begin=lambda seq, _: b'{"seq":%d,' % seq,
    end=b"\n",
    heartbeat=b"\n",
)
SSE = Form(
    render=_sse,
    begin=lambda seq, kind: b'id: %d\nevent: %b\ndata: {"seq":%d,' % (seq, kind, seq),
    end=b"\n\n",
    heartbeat=b":\n\n",
)


class Streamed(Protocol):
    """An execution, as far as reading its events needs it."""

    @property
    def id(self) -> int:
        """Its number in the store."""
        ...

    @property
    def fid(self) -> str:
        """Its fid."""
        ...


class Place(NamedTuple):
    """A reader's place: after an event, or within the chunk with the next events."""

    since: int
    #: How much of that chunk was read (bytes), and the number of the line there.
    offset: int = 0
    seq: int = 0
    #: Whether the place is within a line, and whether that line is being sent.
    is_inside: bool = False
    is_sent: bool = False


class Piece(NamedTuple):
    """Data for a reader, and its place after the data; `ends` if it includes the final status."""

    data: bytes
    place: Place
    ends: bool = False


class Wanted(NamedTuple):
    """A reader's selection: events of some kinds (all if empty), in a form."""

    kinds: frozenset[str] = frozenset()
    form: Form = NDJSON
    #: Whether the final status is sent even if it is not in `kinds`.
    tells_end: bool = False
    #: The text that their payloads contain, as `searched` returns it. Empty: any.
    text: str = ""

    @property
    def head_bytes(self) -> int:
        """How much of a line decides whether it is wanted (bytes)."""
        return SEARCHED_BYTES if self.text else _HEAD_BYTES

    def has(self, head: bytes) -> bool:
        """Return whether a line is wanted, given its beginning."""
        if self.tells_end and is_end(head):
            return True
        if self.kinds and line.kind_of(head).decode("utf-8", "replace") not in self.kinds:
            return False
        return not self.text or self.text in searched(line.start_of_payload(head[:SEARCHED_BYTES]))


class Pieces:
    """Makes pieces from the chunks in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, Place, Wanted], Piece] = OrderedDict()
        self._kept_bytes = 0

    async def after(
        self,
        execution: Streamed,
        place: Place,
        wanted: Wanted,
        *,
        is_shared: bool = False,
        budget_bytes: int = READ_BYTES,
    ) -> Piece | None:
        """Return the piece after a place, or None if there is nothing yet.

        With `is_shared` the piece is cached, because other readers will ask for it. A budget must
        not be smaller than what decides about a line: see `Wanted.head_bytes`.
        """
        key = (execution.fid, place, wanted)
        if found := self._kept.get(key):
            self._kept.move_to_end(key)
            return found
        chunks = await self._store.events.after(
            execution.id, place.since, budget_bytes=budget_bytes, offset=place.offset
        )
        if not chunks:
            return None
        piece = (
            _part(chunks[0], place, wanted) if chunks[0].is_part else _whole(chunks, place, wanted)
        )
        if is_shared:
            self._keep(key, piece)
        return piece

    def _keep(self, key: tuple[str, Place, Wanted], piece: Piece) -> None:
        self._kept[key] = piece
        self._kept_bytes += len(piece.data)
        while self._kept_bytes > _KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.data)


def is_end(event: bytes) -> bool:
    """Return whether a line is a final status, which is the last one of its stream."""
    return line.kind_of(event) == _STATUS and event.endswith(_ENDS)


def searched(text: bytes) -> str:
    """Return JSON in the form in which it is searched: upper and lower case are the same."""
    return text.decode("utf-8", "replace").casefold()


def _whole(chunks: list[Chunk], place: Place, wanted: Wanted) -> Piece:
    numbers: list[int] = []
    lines: list[bytes] = []
    for chunk in chunks:
        own = _lines(chunk)
        seen = max(0, place.since + 1 - chunk.first)
        lines += own[seen:]
        numbers += range(chunk.first + seen, chunk.first + len(own))
    if not lines:
        return Piece(b"", Place(chunks[-1].last))  # the row has fewer events than it claims
    ends = is_end(lines[-1])
    if wanted.text:
        found = [pair for pair in zip(numbers, lines, strict=True) if wanted.has(pair[1])]
        numbers, lines = [seq for seq, _ in found], [text for _, text in found]
    elif wanted.kinds:
        last = numbers[-1]
        found = list(line.filter_kinds(wanted.kinds, zip(numbers, lines, strict=True)))
        if ends and wanted.tells_end and (not found or found[-1][0] != last):
            found.append((last, lines[-1]))
        numbers, lines = [seq for seq, _ in found], [text for _, text in found]
    return Piece(wanted.form.render(numbers, lines), Place(chunks[-1].last), ends)


def _lines(chunk: Chunk) -> list[bytes]:
    """Return a chunk's lines, but not more than the chunk has numbers for."""
    lines, most = chunk.body.split(b"\n"), chunk.last - chunk.first + 1
    if len(lines) > most:
        lines[most - 1 :] = lines[-1:]  # the last one may be the final status
    return lines


def _part(chunk: Chunk, place: Place, wanted: Wanted) -> Piece:
    """Return the piece in a part of a chunk; the part begins at `place`."""
    body, form = chunk.body, wanted.form
    is_last = place.offset + len(body) == chunk.size_bytes
    seq, is_inside, is_sent = place.seq or chunk.first, place.is_inside, place.is_sent
    sent: list[bytes] = []
    at, head, need = 0, b"", wanted.head_bytes
    while at < len(body):
        stop = body.find(b"\n", at)
        if not is_inside:
            head = body[at : stop if stop >= 0 else at + need]
            if stop < 0 and len(head) < need and not is_last:
                break  # the next part says whether it is wanted
            is_sent = seq > place.since and wanted.has(head)
            if is_sent:
                sent.append(form.begin(seq, line.kind_of(head)))
        end = stop if stop >= 0 else len(body)
        if is_sent:
            sent.append(body[at:end])
        at, is_inside = end, True
        if stop >= 0:
            sent += [form.end] * is_sent
            at, seq, is_inside = stop + 1, seq + 1, False
    if not is_last:
        return Piece(b"".join(sent), Place(place.since, place.offset + at, seq, is_inside, is_sent))
    sent += [form.end] * is_sent
    return Piece(b"".join(sent), Place(chunk.last), bool(head) and is_end(head))
