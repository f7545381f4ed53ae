"""The output of commands: results on stdout, everything else on stderr.

This is the only user of rich, which costs 60 ms and more. It is imported only to draw on a
terminal, never for a pipe.
"""

import contextlib
import errno
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TextIO

from koco.errors import KocoError, OutputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Characters that control a terminal: control characters except tab and newline, C1, and those that
#: change the direction of text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

#: The same, and characters that end a line or move within it.
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

#: The minimum width of wrapped text (characters).
_NARROWEST = 20

#: The system's errors if nothing more can be written.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})

RED, GREEN, YELLOW, BLUE, CYAN = "31", "32", "33", "34", "36"
DIM, BOLD = "2", "1"


def prepare() -> None:
    """Make both streams accept any text. A lone surrogate is shown instead of raising.

    A stream that the caller has closed (`>&-`) is replaced by one that discards its text.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def unwritten(exc: OSError, what: str | None = None) -> KocoError | None:
    """Return our error for a failed write if there is no room; None for other errors."""
    if exc.errno not in _NO_ROOM:
        return None
    if what is None:
        # Text that could not be written to stdout is still buffered, and cannot be written now
        # either.
        where = f" {exc.filename}" if exc.filename else "" if _is_flushed() else " to stdout"
        what = f"cannot write{where}: {exc.strerror}"
    return OutputError(what, hint="the output is incomplete; make room, or write elsewhere")


def let_go() -> None:
    """Discard unwritten output, so that the interpreter does not try again at exit."""
    if not _is_flushed():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_flushed() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return whether a stream (stdout) is a terminal."""
    return (stream or sys.stdout).isatty()


def room(stream: TextIO | None = None, *, indent: int = 0) -> int:
    """Return the number of characters that fit on a line of a stream's (stdout's) terminal.

    `indent` is the number of columns already used.
    """
    try:
        columns = int(os.environ.get("COLUMNS") or 0)
        columns = columns or os.get_terminal_size((stream or sys.stdout).fileno()).columns
    except (OSError, ValueError):
        columns = 80
    return max(_NARROWEST, columns - indent)


def height(stream: TextIO | None = None) -> int:
    """Return the number of lines of a stream's (stdout's) terminal."""
    try:
        lines = int(os.environ.get("LINES") or 0)
        return lines or os.get_terminal_size((stream or sys.stdout).fileno()).lines or 24
    except (OSError, ValueError):
        return 24


def wrapped(text: str, stream: TextIO | None = None, *, indent: int = 0) -> list[str]:
    """Return text in lines that fit a stream's (stdout's) terminal, cut only between words.

    `indent` is the number of columns already used, on the first line and all others.
    """
    width = room(stream, indent=indent)
    return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False) or [""]


def has_colour(stream: TextIO | None = None) -> bool:
    """Return whether to use colour on a stream (stdout): a terminal, and NO_COLOR not set."""
    dull = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_terminal(stream) and not dull


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return text in a style if the stream has colour, each line separately."""
    if not style or not has_colour(stream):
        return text
    return "\n".join(f"\x1b[{style}m{line}\x1b[0m" if line else "" for line in text.split("\n"))


def harmless(text: str) -> str:
    r"""Return text whose control characters are shown (`\x1b`) instead of obeyed."""
    return _CONTROLS.sub(_escape, text.replace("\r\n", "\n"))


def inline(text: str) -> str:
    r"""Return text that must stay on one line: line ends are shown (`\n`), too.

    For names and other text from somebody else, wherever it goes. In a log that is read line by
    line, a name with two lines could fake an entry.
    """
    return _BREAKS.sub(lambda found: _SHORT.get(found[0]) or _escape(found), text)


def shortened(text: str, most: int) -> str:
    """Return text of at most `most` characters; `…` is the last one if the rest was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cut(line: str, stream: TextIO, *, indent: int = 0) -> str:
    """Return a line cut to fit a stream's terminal. Elsewhere it is whole, so logs can be searched.

    `indent` is the number of columns already used.
    """
    return shortened(line, room(stream, indent=indent)) if is_terminal(stream) else line


def harmless_json(text: str) -> str:
    """Do the same for JSON: control characters are escaped, and the value stays the same."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_line(text: str) -> None:
    """Write a line of result to stdout."""
    sys.stdout.write(f"{harmless(text) if is_terminal() else text}\n")


def print_styled(start: str, style: str, rest: str) -> None:
    """Write a line of result to stdout, with a style on its start."""
    sys.stdout.write(f"{paint(start, style)}{harmless(rest) if is_terminal() else rest}\n")


def print_json(value: Any) -> None:
    """Write a value to stdout as JSON for people and programs."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write(f"{harmless_json(text) if is_terminal() else text}\n")


def print_items(items: Sequence[Any]) -> None:
    """Write a whole list to stdout, in the same form as a page of a longer list."""
    print_json({"items": items, "next": None})


def print_ndjson(value: Any) -> None:
    """Write a value to stdout at once, as one line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def flush() -> None:
    """Flush stdout, so that readers get its text now."""
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line to stderr: progress, or what to do next."""
    _write(f"{harmless(text) if is_terminal(sys.stderr) else text}\n")


def begin_line() -> None:
    """Begin a line on stderr after Ctrl-C, for which a terminal shows `^C`."""
    if is_terminal(sys.stderr):
        note("")


class StatusLine:
    """A line on stderr that changes, if stderr is a terminal; otherwise nothing.

    What is written to stderr meanwhile replaces it.
    """

    #: The one that is on the terminal just now.
    _drawn: ClassVar["StatusLine | None"] = None

    def __init__(self) -> None:
        self.is_shown = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"

    @classmethod
    def make_way(cls) -> None:
        """Remove the line that is on the terminal, if there is one."""
        if cls._drawn is not None:
            cls._drawn.clear()

    def show(self, text: str) -> None:
        """Replace the text of the line, cut to the width of the terminal."""
        if self.is_shown:
            # Not in the last column, because some terminals start another line there.
            sys.stderr.write(f"\r\x1b[2K{inline(text)[: room(sys.stderr) - 1]}")
            sys.stderr.flush()
            StatusLine._drawn = self

    def clear(self) -> None:
        """Remove the line, before another one is written."""
        if StatusLine._drawn is self:
            StatusLine._drawn = None
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def warn(text: str, *, hint: str) -> None:
    """Write `warning:` and `hint:` to stderr. The command continues."""
    _labelled("warning", YELLOW, text)
    _labelled("hint", CYAN, hint)


def print_error(error: KocoError, *, as_json: bool = False) -> None:
    """Write an error to stderr: `error:` and `hint:`, or its wire form."""
    if as_json:
        _write(json.dumps(error.to_wire()) + "\n")
        return
    if detail := getattr(error, "detail", None):
        note(str(detail).rstrip("\n"))
    problems = error.message.split("\n")
    for line in problems:
        _labelled("error", RED, line)
    if error.hint:
        _labelled("hint", CYAN, error.hint)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    styles: dict[str, str] | None = None,
    widest: str | None = None,
) -> None:
    """Write a table to stdout: drawn on a terminal, tab-separated with a header elsewhere.

    `styles` maps a cell's text to a rich style. If the terminal is too narrow, only the column
    `widest` shrinks.
    """
    if not is_terminal():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        # Rich narrows columns that may wrap first. The text itself is cut instead.
        table.add_column(name, no_wrap=name != widest)
    for row in rows:
        table.add_row(*[_cell(Text, cell, styles or {}) for cell in row])
    _console().print(table)


def print_fields(
    names: Sequence[str], items: Iterable[Mapping[str, object]], text: Callable[[Any], str] = str
) -> None:
    """Write items as a table for scripts, with these fields of each, as `text`."""
    print_table(names, [[text(item.get(name)) for name in names] for item in items])


def print_markdown(text: str, stream: TextIO | None = None) -> None:
    """Write Markdown to a stream (stdout): drawn on a terminal, unchanged elsewhere."""
    stream = stream or sys.stdout
    if not is_terminal(stream):
        stream.write(f"{text}\n")
        return
    from rich.markdown import Markdown

    # Links as text, because a hyperlink's target can differ from the shown text.
    _console(stream).print(Markdown(harmless(text), hyperlinks=False))


class Advance(Protocol):
    """Called with the number of further bytes done."""

    def __call__(self, size_bytes: int, /) -> object:
        """Count the bytes."""


@contextmanager
def progress(label: str, total_bytes: int | None) -> Iterator[Advance]:
    """Show a progress bar on stderr while bytes are processed, if stderr is a terminal.

    Without a total, it shows how many there are so far.
    """
    if not is_terminal(sys.stderr):
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = _console(sys.stderr)
    with Progress(*columns, TransferSpeedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(inline(label), total=total_bytes)
        yield lambda size_bytes: bar.advance(task, size_bytes)


def _cell(text: "type[Text]", cell: str, styles: dict[str, str]) -> "Text":
    return text(inline(cell), style=styles.get(cell, ""), no_wrap=True, overflow="ellipsis")


def _console(stream: TextIO | None = None) -> "Console":
    from rich.console import Console

    file = stream or sys.stdout
    return Console(file=file, no_color=not has_colour(file), highlight=False, markup=False)


def _escape(found: "re.Match[str]") -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _labelled(label: str, style: str, text: str) -> None:
    shown = harmless(text) if is_terminal(sys.stderr) else text
    _write(f"{paint(f'{label}:', style, sys.stderr)} {shown}\n")


def _write(text: str) -> None:
    """Write to stderr if possible. A failure does not affect the command."""
    try:
        StatusLine.make_way()
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        if exc.errno not in _NO_ROOM:
            raise
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
