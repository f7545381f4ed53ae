"""Show the events of many executions as one stream, each line with its execution before it."""

import sys
import zlib
from collections.abc import Iterable
from itertools import groupby

from koco.cli.terminal import event_view, output
from koco.cli.terminal.event_view import View
from koco.client.many_stream import LineOfMany, ManyStream
from koco.plurals import counted

#: How much of a fid, and at most of a flow's name, stands before a line (characters).
_FID = 6
_FLOW = 24
#: The colours of executions. Red and yellow mean something else.
_COLOURS = (output.CYAN, output.GREEN, output.BLUE, "35", "96", "92", "94", "95")


class ManyView:
    """Shows lines of many executions, with prefixes of one width."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._width = 0

    def show(self, stream: ManyStream, arrived: Iterable[LineOfMany]) -> None:
        """Write lines to stdout at once."""
        if self._view.as_json:
            event_view.write_json([each.raw for each in arrived])
        else:
            for (fid, flow), group in groupby(arrived, key=lambda each: (each.fid, each.flow)):
                events = [stream.decode(each.line) for each in group]
                view = self._view.changed(fid=fid, prefix=self._prefix(fid, flow))
                event_view.show_events(events, view)
        sys.stdout.flush()

    def _prefix(self, fid: str, flow: str) -> str:
        """Return what stands before the lines of an execution: flow, short fid, a bar."""
        name = output.inline(flow)
        if len(name) > _FLOW:
            name = f"…{name[1 - _FLOW :]}"  # the end of it says more than the service
        # Lines that were written stay as they are, so the width only grows.
        self._width = max(self._width, len(name))
        text = f"{name:<{self._width}} {output.inline(fid[:_FID])} │"
        return f"{output.paint(text, _COLOURS[zlib.crc32(fid.encode()) % len(_COLOURS)])} "


def follow(stream: ManyStream, view: View) -> None:
    """Show a stream as it comes, until it ends.

    Raises:
        Exit: the user pressed Ctrl-C. The executions continue.
    """
    stream.on_begin = _report_begin
    try:
        show(stream, view)
    except KeyboardInterrupt:
        raise event_view.interrupted("the executions go on") from None


def show(stream: ManyStream, view: View) -> None:
    """Show what there is."""
    many = ManyView(view)
    for arrived in stream:
        many.show(stream, arrived)


def _report_begin(count: int) -> None:
    if count == 0:
        output.note("no execution matches yet: waiting for one (Ctrl-C stops)")
    elif output.is_terminal(sys.stderr):
        output.note(f"following {counted(count, 'execution')} (Ctrl-C stops)")
