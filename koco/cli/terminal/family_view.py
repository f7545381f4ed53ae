"""Show the events of an execution and of those that it launches, as one stream.

Each execution has its own stream. Children are found in the `step` events of their parents.
"""

import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import Queue
from threading import Thread

from koco.cli.terminal import event_view, output
from koco.cli.terminal.event_view import View
from koco.client.client import Stream
from koco.errors import NotAllowedError, NotFoundError
from koco.events.model import Status

#: Returns the stream of an execution, by its fid. Each is read in a thread of its own.
OpenStream = Callable[[str], Stream]

#: Kinds that are read in addition to those that the user has requested.
KINDS = ("meta", "step", "status")

#: How many streams are read at once. Further ones wait until one of these ends.
_STREAMS = 32
#: How many lists of lines wait to be shown, so that fast streams do not fill the memory.
_WAITING = 64
#: The start of a fid that marks its lines (characters).
_SHORT = 6


@dataclass(slots=True, eq=False)
class _Member:
    """An execution of the family. The root has no label.

    `is_checked` says that the root has ended, and it was found that this one ends, too.
    """

    stream: Stream
    label: str = ""
    is_root: bool = False
    is_checked: bool = False


#: Lines of a member, its end, or what went wrong.
_Arrival = tuple[_Member, list[bytes] | BaseException | None]


class _Family:
    """The executions that are shown, and those that wait for it."""

    def __init__(self, open_stream: OpenStream, view: View) -> None:
        self._open = open_stream
        self._view = replace(view, marks_fid=True)
        self._known: set[str] = set()
        self.waiting: deque[str] = deque()

    def next(self) -> _Member | None:
        """Return the next child to be read, if one waits."""
        if not self.waiting:
            return None
        fid = self.waiting.popleft()
        return _Member(self._open(fid), label=fid[:_SHORT])

    def show(self, member: _Member, lines: list[bytes]) -> None:
        """Show lines of a member, and note the children that they tell of."""
        stream, view = member.stream, replace(self._view, label=member.label)
        for line in lines:
            kind = stream.read_kind(line)
            if kind == "meta" and not member.is_root:
                member.label = _label(stream, line)
                view = replace(view, label=member.label)
            elif kind == "step" and b'"fid":' in line:
                self._note_child(stream.decode(line)["payload"])
        if view.kinds and view.as_json:
            lines = [line for line in lines if stream.read_kind(line) in view.kinds]
        if lines:
            event_view.show_lines(stream, lines, view)

    def _note_child(self, step: object) -> None:
        fid = step.get("fid") if isinstance(step, dict) else None
        if isinstance(fid, str) and fid not in self._known:
            self._known.add(fid)
            self.waiting.append(fid)


def show(root: Stream, open_stream: OpenStream, view: View) -> None:
    """Show the stored events of an execution and its children, in the order of their times."""
    family = _Family(open_stream, view)
    heap: list[tuple[str, int, list[bytes], _Member, Iterator[list[bytes]]]] = []

    def push(number: int, member: _Member, pieces: Iterator[list[bytes]]) -> None:
        try:
            if line := next(pieces, None):
                heapq.heappush(heap, (_time(member.stream, line[0]), number, line, member, pieces))
        except (NotFoundError, NotAllowedError) as exc:
            _end(member, exc)

    count = 0
    push(count, member := _Member(root, is_root=True), _one_by_one(member.stream))
    while heap:
        _, number, line, member, pieces = heapq.heappop(heap)
        family.show(member, line)
        push(number, member, pieces)
        while len(heap) < _STREAMS and (child := family.next()):
            count += 1
            push(count, child, _one_by_one(child.stream))


def follow(
    root: Stream, open_stream: OpenStream, view: View, *, has_ended: Callable[[str], bool]
) -> str:
    """Show the events of an execution and its children until it has ended; return its status.

    A child that goes on after that is not followed to its end, which may come much later.
    `has_ended` looks that up, by the child's fid.

    Raises:
        typer.Exit: the user pressed Ctrl-C. The executions continue.
    """
    family = _Family(open_stream, view)
    arrivals: Queue[_Arrival] = Queue(_WAITING)
    members = [_Member(root, is_root=True)]
    _read(members[0], arrivals)
    with event_view.interruptible(root):
        while members:
            member, arrived = arrivals.get()
            if isinstance(arrived, list):
                if any(each is member for each in members):
                    family.show(member, arrived)
            else:
                members = [each for each in members if each is not member]
                _end(member, arrived)
            while len(members) < _STREAMS and (child := family.next()):
                members.append(child)
                _read(child, arrivals)
            if root.status == Status.FINISHED:  # otherwise, the children are cancelled
                members = [each for each in members if not _goes_on(each, has_ended)]
    event_view.report_end(root, view)
    assert root.status is not None
    return root.status


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
    """Raise what a member's stream has raised, unless it is only that a child is not there.

    It was deleted, or belongs to a flow that the user may not see.
    """
    if error is None:
        return
    if member.is_root or not isinstance(error, NotFoundError | NotAllowedError):
        raise error
    output.note(f"{member.stream.fid} is not shown: {error.message}")


def _goes_on(member: _Member, has_ended: Callable[[str], bool]) -> bool:
    """Return whether a child outlives the root, and say so."""
    fid = member.stream.fid
    if member.is_root or member.is_checked:
        return False
    member.is_checked = True
    with contextlib.suppress(NotFoundError, NotAllowedError):  # its stream reports that
        if not has_ended(fid):
            output.note(f"{fid} goes on; `koco logs -f {fid}` follows it")
            return True
    return False


def _one_by_one(stream: Stream) -> Iterator[list[bytes]]:
    for lines in stream:
        for line in lines:
            yield [line]


def _label(stream: Stream, meta: bytes) -> str:
    """Return the label of a child: the start of its fid, and its flow."""
    payload = stream.decode(meta)["payload"]
    flow = payload.get("flow") if isinstance(payload, dict) else None
    return f"{stream.fid[:_SHORT]} {flow}" if flow else stream.fid[:_SHORT]


def _time(stream: Stream, line: bytes) -> str:
    # The format that the API writes. Any other format is still JSON.
    _, found, rest = line[:60].partition(b'"ts":"')
    return rest[:27].decode() if found else str(stream.decode(line)["ts"])
