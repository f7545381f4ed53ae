"""`koco ps --watch`: a table that is redrawn when it changes, or a line for each change."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TextIO

from koco.cli.live.feed import Feed
from koco.cli.live.listing import Listing
from koco.cli.terminal import output
from koco.client.answers import Execution

#: How often the times in a table are brought up to date (seconds).
_TICK_S = 1.0
#: Have the terminal show what is between these at once; those that do not know them ignore them.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"

#: Writes a list of executions to stdout.
Show = Callable[[Sequence[Execution]], None]


def draw(listing: Listing, feed: Feed, show: Show) -> NoReturn:
    """Show a list in place, for ever, and redraw what has changed of it.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C. The table stays.
    """
    screen = _Screen()
    listing.refresh()
    waited_s = 0.0
    while True:
        screen.draw(_lines(listing, show))
        if feed.wait(_TICK_S) or waited_s >= listing.patience_s:
            listing.refresh()
            waited_s = 0.0
        waited_s += _TICK_S


def print_changes(listing: Listing, feed: Feed, show: Show, *, as_json: bool) -> NoReturn:
    """Print the list, and then each execution that changes, for ever."""
    told, has_header = "", False
    while True:
        difference = listing.refresh()
        items = [*difference.changed, *difference.gone]
        if as_json:
            _print_json(items, difference.deleted)
        elif items:
            lines = _capture(show, items).splitlines(keepends=True)
            sys.stdout.write("".join(lines[has_header:]))
            has_header = True
        output.flush()
        if listing.trouble and listing.trouble != told:
            output.note(listing.trouble)
        told = listing.trouble
        feed.wait(listing.patience_s)


def _print_json(items: Sequence[Execution], deleted: Sequence[str]) -> None:
    for each in items:
        output.print_ndjson(each)
    for fid in deleted:
        output.print_ndjson({"fid": fid, "deleted": True})


def _lines(listing: Listing, show: Show) -> list[str]:
    """Return the lines of the table and of what is to be said below it."""
    lines = _capture(show, listing.items).splitlines() or [
        output.paint("nothing is running", output.DIM)
    ]
    if listing.has_more:
        lines.append(output.paint("there are more; `--limit` shows them", output.DIM))
    if listing.trouble:
        lines.append(output.paint(output.harmless(listing.trouble), output.YELLOW))
    return lines


def _capture(show: Show, items: Sequence[Execution]) -> str:
    """Return what a list looks like on stdout, without writing it."""
    sink = _Sink(sys.stdout)
    with contextlib.redirect_stdout(sink):
        show(items)
    return sink.getvalue()


class _Sink(io.StringIO):
    """Takes text that is meant for a stream, and looks like it."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's own."""
        return self._stream.fileno()


class _Screen:
    """Lines at the end of the terminal that are replaced in place."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._width = 0

    def draw(self, lines: list[str]) -> None:
        """Replace the lines; write nothing if they are the same."""
        height, width = output.height(), output.room()
        if len(lines) >= height:
            # One line is left for the cursor, the last one says how many do not fit.
            kept = max(height - 2, 1)
            lines = [*lines[:kept], f"… and {len(lines) - kept} more lines"]
        if lines == self._lines and width == self._width:
            return
        # A terminal that became narrower has wrapped the old lines: begin anew below them.
        up = f"\x1b[{len(self._lines)}A" if self._lines and width >= self._width else ""
        body = "".join(f"{line}\x1b[K\n" for line in lines)
        sys.stdout.write(f"{_BEGIN}{up}\r{body}\x1b[J{_END}")
        sys.stdout.flush()
        self._lines, self._width = lines, width
