"""Show the events of an execution and of those that it launches, as one stream.

Each execution has its own stream. Children are found in the `step` events of their parents.
"""

import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from queue import Queue
from threading import Thread

from koco.cli.terminal import event_view, output
from koco.cli.terminal.event_view import View
from koco.client.client import Stream
from koco.errors import NotAllowedError, NotFoundError
from koco.events.model import Status

#: Returns the stream of an execution: its fid, after which seq, and whether to follow it. Streams
#: that are followed are read in threads of their own.
OpenStream = Callable[[str, int, bool], Stream]

#: Kinds that are read in addition to those that the user has requested.
KINDS = ("meta", "step", "status")

#: How many streams are read at once. Further ones wait until one of these ends.
_STREAMS = 32
#: How many lists of lines wait to be shown, so that fast streams do not fill the memory.
_WAITING = 64
#: How many lines of one execution are written at once.
_LINES = 500
#: The start of a fid that marks its lines (characters).
_SHORT = 6


class _Member:
    """An execution of the family. The root has no label."""

    def __init__(self, stream: Stream, *, is_root: bool = False) -> None:
        self.stream = stream
        self.is_root = is_root
        self.label = "" if is_root else stream.fid[:_SHORT]
        #: Whether `_goes_on` was asked about it.
        self.is_checked = False
        #: Whether it cannot be read.
        self.is_gone = False

    @property
    def is_open(self) -> bool:
        """Whether more may come of it."""
        return self.stream.status is None and not self.is_gone


#: Lines of a member, its end, or what went wrong.
_Arrival = tuple[_Member, list[bytes] | BaseException | None]


class _Family:
    """The executions that are shown, and those that wait to be shown."""

    def __init__(self, root: Stream, open_stream: OpenStream, view: View) -> None:
        self.root = _Member(root, is_root=True)
        self.open_stream = open_stream
        self._view = view.changed(marks_fid=True)
        self._known: set[str] = set()
        self._children: deque[str] = deque()

    def next_child(self, *, follows: bool) -> _Member | None:
        """Return the next child to be read, if one waits."""
        if not self._children:
            return None
        return _Member(self.open_stream(self._children.popleft(), 0, follows))

    def look(self, member: _Member, line: bytes) -> None:
        """Note the flow or the child that a member's line names."""
        kind = member.stream.read_kind(line)
        if kind == "meta" and not member.is_root:
            member.label = _label(member.stream, line)
        elif kind == "step" and b'"fid":' in line:
            step = member.stream.decode(line)["payload"]
            fid = step.get("fid") if isinstance(step, dict) else None
            if isinstance(fid, str) and fid not in self._known:
                self._known.add(fid)
                self._children.append(fid)

    def show(self, member: _Member, lines: list[bytes]) -> None:
        """Show lines of a member."""
        stream, view = member.stream, self._view.changed(label=member.label)
        if view.kinds and view.as_json:
            lines = [line for line in lines if stream.read_kind(line) in view.kinds]
        if lines:
            event_view.show_lines(stream, lines, view)


def show(root: Stream, open_stream: OpenStream, view: View) -> None:
    """Show the stored events of an execution and its children, in the order of their times."""
    _show_stored(_Family(root, open_stream, view))
    event_view.finish(view)


def follow(
    root: Stream, open_stream: OpenStream, view: View, *, is_final: Callable[[str], bool]
) -> str:
    """Show the events of an execution and its children until it has ended; return its status.

    The stored events come first, in the order of their times; `root` is the stream of the
    execution's own. Then all others are shown as they come. A child that goes on after the
    execution's end is not followed further: `is_final` returns whether one has ended, by its fid.

    Raises:
        Exit: the user pressed Ctrl-C. The executions continue.
    """
    family = _Family(root, open_stream, view)
    with event_view.interruptible(root):
        members = [each for each in _show_stored(family) if each.is_open]
        for member in members:
            stream = member.stream
            member.stream = open_stream(stream.fid, stream.last_seq, True)
        _follow(family, members, is_final)
    stream = family.root.stream
    event_view.finish(view)
    event_view.report_end(stream, view)
    assert stream.status is not None
    return stream.status


def _show_stored(family: _Family) -> list[_Member]:
    """Show stored events in the order of their times; return all members."""
    heap: list[tuple[str, int, bytes, Iterator[bytes]]] = []
    members: list[_Member] = []
    lines: list[bytes] = []

    def push(number: int, pieces: Iterator[bytes]) -> None:
        member = members[number]
        try:
            if line := next(pieces, None):
                heapq.heappush(heap, (member.stream.read_time(line), number, line, pieces))
        except (NotFoundError, NotAllowedError) as exc:
            _end(member, exc)
            member.is_gone = True

    def add(member: _Member) -> None:
        members.append(member)
        push(len(members) - 1, chain.from_iterable(member.stream))

    add(family.root)
    while heap:
        _, number, line, pieces = heapq.heappop(heap)
        lines.append(line)
        family.look(members[number], line)
        push(number, pieces)
        while len(heap) < _STREAMS and (child := family.next_child(follows=False)):
            add(child)
        if not heap or heap[0][1] != number or len(lines) >= _LINES:
            family.show(members[number], lines)
            lines = []
    return members


def _follow(family: _Family, members: list[_Member], is_final: Callable[[str], bool]) -> None:
    """Show events as they come, until the root has ended, and all children that have."""
    arrivals: Queue[_Arrival] = Queue(_WAITING)
    waiting = deque(members)
    reading: list[_Member] = []
    while True:
        while len(reading) < _STREAMS:
            member = waiting.popleft() if waiting else family.next_child(follows=True)
            if member is None:
                break
            reading.append(member)
            _read(member, arrivals)
        if family.root.stream.status == Status.FINISHED:  # otherwise, the children are cancelled
            reading = [each for each in reading if not _goes_on(each, is_final)]
        if not reading:
            return
        member, arrived = arrivals.get()
        if member not in reading:
            continue  # it was left
        if isinstance(arrived, list):
            for line in arrived:
                family.look(member, line)
            family.show(member, arrived)
        else:
            reading.remove(member)
            _end(member, arrived)


def _read(member: _Member, arrivals: "Queue[_Arrival]") -> None:
    """Read a member's stream in a thread."""
    stream = member.stream
    stream.on_beat = event_view.Heartbeats(stream).report

    def read() -> None:
        try:
            for lines in stream:
                arrivals.put((member, lines))
            arrivals.put((member, None))
        except BaseException as exc:  # noqa: BLE001 - raised in the main thread
            arrivals.put((member, exc))

    Thread(target=read, daemon=True).start()


def _end(member: _Member, error: BaseException | None) -> None:
    """Raise a member's error. If only a child cannot be read, note that instead.

    It was deleted, or belongs to a flow that the user may not see.
    """
    if error is None:
        return
    if member.is_root or not isinstance(error, NotFoundError | NotAllowedError):
        raise error
    output.note(f"{member.stream.fid} is not shown: {error.message}")


def _goes_on(member: _Member, is_final: Callable[[str], bool]) -> bool:
    """Return whether a child outlives the root, and say so."""
    fid = member.stream.fid
    if member.is_root or member.is_checked:
        return False
    member.is_checked = True
    with contextlib.suppress(NotFoundError, NotAllowedError):  # its stream reports that
        if not is_final(fid):
            output.note(f"{fid} goes on; `koco logs -f {fid}` follows it")
            return True
    return False


def _label(stream: Stream, meta: bytes) -> str:
    """Return the label of a child: the start of its fid, and its flow."""
    payload = stream.decode(meta)["payload"]
    flow = payload.get("flow") if isinstance(payload, dict) else None
    return f"{stream.fid[:_SHORT]} {flow}" if flow else stream.fid[:_SHORT]
