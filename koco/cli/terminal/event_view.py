"""Show an event stream: drawn for a terminal, as plain text for a pipe, or as NDJSON."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from koco.cli.exits import Exit
from koco.cli.terminal import event_text, output, progress_text, times
from koco.cli.terminal.progress_bar import ProgressBar
from koco.client.answers import Event
from koco.client.client import Stream
from koco.errors import CancelledError, Interrupted, KocoError, TimedOutError
from koco.events.model import FINAL, Status

#: Final status of an execution -> exit code of a command that follows it.
EXIT_CODES: Mapping[str, int] = {
    Status.FINISHED: 0,
    Status.ERROR: KocoError.exit_code,
    Status.CANCELLED: CancelledError.exit_code,
}

#: Kinds about the execution itself and not its work. They are shown if requested by name. A
#: terminal also shows status changes, in a quiet style; others see only that it was resumed.
_QUIET = frozenset({"meta", "inputs", "status"})

#: The style of each kind on a terminal.
_STYLES = {
    "stderr": output.YELLOW,
    "error": output.RED,
    "debug": output.DIM,
    "action": output.CYAN,
    "progress": output.CYAN,
    "lock": output.CYAN,
    "lease": output.CYAN,
    "step": output.DIM,
}
#: The final statuses, the worst one last.
_SEVERITY = ("finished", "cancelled", "error")

_STATUS_STYLES = {"error": output.RED, "cancelled": output.YELLOW, "sleeping": output.BLUE}
#: Of steps, by their status; the style of the kind for all others.
_STEP_STYLES = {"error": output.RED, "retrying": output.YELLOW}

#: Kinds whose text needs no label. The text of others starts with their name.
_SELF_EVIDENT = frozenset({*_STYLES, *_QUIET, "stdout", "result", "final"}) - {"progress"}


class View:
    """Options of the view. `kinds` are those requested by name, `fid` is the execution's.

    `label` stands before each line of text, and `prefix` (which may have colours) before that and
    before a time. With `marks_fid`, lines of JSON get the fid. `bar` is where a terminal shows
    `progress` events, unless they are requested by name.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        timestamps: bool = False,
        kinds: tuple[str, ...] = (),
        fid: str = "",
        label: str = "",
        prefix: str = "",
        marks_fid: bool = False,
        bar: ProgressBar | None = None,
    ) -> None:
        self.as_json = as_json
        self.timestamps = timestamps
        self.kinds = kinds
        self.fid = fid
        self.label = label
        self.prefix = prefix
        self.marks_fid = marks_fid
        self.bar = bar or ProgressBar()

    def changed(self, **options: Any) -> "View":
        """Return a copy with other options."""
        return View(**{**vars(self), **options})


def worst(statuses: Iterable[str]) -> int:
    """Return the exit code of a command that followed executions to these final statuses."""
    return EXIT_CODES[max(statuses, key=_SEVERITY.index)]


def follow(
    stream: Stream,
    view: View | None,
    *,
    timeout_s: float | None = None,
    on_lock: Callable[[], None] | None = None,
) -> str:
    """Show a stream to its end and return the final status. Without a view, nothing is shown.

    `on_lock` is called after a question to a person has been shown. Other tasks continue meanwhile.

    Raises:
        TimedOutError: it has not ended in time; it continues.
        Exit: the user pressed Ctrl-C. The execution continues, and the user sees the command
            to follow it again.
    """
    stream.on_beat = Heartbeats(stream).report
    with interruptible(stream), times.limit(timeout_s, lambda: _too_slow(stream, timeout_s)):
        show(stream, view, on_lock=on_lock)
    assert stream.status is not None
    return stream.status


@contextlib.contextmanager
def interruptible(stream: Stream) -> Iterator[None]:
    """Exit on Ctrl-C, with the command that follows the stream again.

    Raises:
        Exit: the user pressed Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        goes_on = f"{stream.fid} goes on; `koco logs -f {stream.fid}` follows it again"
        raise interrupted(goes_on) from None


def interrupted(text: str) -> Exit:
    """Print `text` after Ctrl-C, and return the exception that ends the command."""
    output.begin_line()
    output.note(text)
    return Exit(Interrupted.exit_code)


class Heartbeats:
    """Reports on stderr, once each, the reasons why a stream has no new events."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reported: str | None = None

    def report(self) -> None:
        """Write the reason, unless it was the last one that was written."""
        with contextlib.suppress(KocoError):  # the stream itself reports the error
            waits = self._stream.waits()
            if waits and _without_numbers(waits) != self._reported:
                output.note(f"{self._stream.fid}: {waits}")
            self._reported = _without_numbers(waits or "")


def _without_numbers(text: str) -> str:
    return re.sub(r"[0-9]+", "", text)


def show(stream: Stream, view: View | None, *, on_lock: Callable[[], None] | None = None) -> None:
    """Write the lines of a stream to stdout, each list of lines at once."""
    for lines in stream:
        if view is not None:
            show_lines(stream, lines, view)
        if on_lock is not None and any(_may_ask(stream, line) for line in lines):
            output.StatusLine.make_way()
            on_lock()
    if view is not None:
        finish(view)
        report_end(stream, view)


def finish(view: View) -> None:
    """Leave the last progress on the terminal, as a line."""
    if text := view.bar.end():
        sys.stdout.write(output.paint(output.harmless(text), _STYLES["progress"]) + "\n")
        sys.stdout.flush()


def report_end(stream: Stream, view: View) -> None:
    """Note on stderr that an execution did not finish, unless stdout has already said so."""
    # A terminal has already drawn it, and NDJSON contains it.
    if view.as_json or output.is_terminal():
        return
    if stream.status is not None and EXIT_CODES[stream.status]:
        output.note(f"{stream.fid or 'it'} has ended: {stream.status}")


def show_lines(stream: Stream, lines: list[bytes], view: View) -> None:
    """Write lines of a stream to stdout at once."""
    view = view.changed(fid=stream.fid)
    if view.as_json:
        _write_json(stream, lines, view)
    else:
        show_events(map(stream.decode, lines), view)
    sys.stdout.flush()
    view.bar.draw()


def show_events(events: Iterable[Event], view: View) -> None:
    """Write events to stdout as text: drawn for a terminal, plain for a pipe."""
    if output.is_terminal():
        _draw(events, view)
    else:
        sys.stdout.write("".join(plain(events, view)))


def write_json(lines: list[bytes]) -> None:
    """Write lines of JSON to stdout, without characters that a terminal would obey."""
    raw = b"\n".join(lines) + b"\n"
    sys.stdout.flush()
    if output.is_terminal():
        sys.stdout.write(output.harmless_json(raw.decode(errors="backslashreplace")))
    else:
        sys.stdout.buffer.write(raw)


def _may_ask(stream: Stream, line: bytes) -> bool:
    """Return whether an event may mean that a person is needed now."""
    kind = stream.read_kind(line)
    return kind == "lock" or (kind == "status" and b'"awaiting"' in line)


def print_value(payload: Any) -> None:
    """Write an execution's result to stdout: Markdown drawn, text unchanged, or JSON."""
    for type_, body in event_text.bodies_of(payload) or [
        ("text", event_text.text_of(payload, indent=2))
    ]:
        if type_ == "markdown":
            output.print_markdown(body)
        else:
            output.print_line(body)


def _write_json(stream: Stream, lines: list[bytes], view: View) -> None:
    # The original lines, because encoding them again would take a whole core for no gain.
    if view.kinds and "status" not in view.kinds and stream.read_kind(lines[-1]) == "status":
        lines = lines[:-1]  # it was sent to mark the end, and was not requested
    if not lines:
        return
    if view.marks_fid:
        start = b'{"fid":"%b",' % stream.fid.encode()
        lines = [start + line[1:] for line in lines]
    write_json(lines)


def plain(events: Iterable[Event], view: View) -> Iterator[str]:
    """Yield the text of each event that is shown, as in a pipe, with its newline."""
    for event in events:
        kind, payload = event["kind"], event["payload"]
        if _is_shown(kind, payload, view):
            text = _text(kind, payload, view.fid)
            if kind == "status" and not view.kinds:
                text = f"status: {text}"
            text = _label(text, event, view)
            yield _add_time(text, event["ts"], view) + "\n"


def _draw(events: Iterable[Event], view: View) -> None:
    for event in events:
        kind, payload, ts = event["kind"], event["payload"], event["ts"]
        if kind == "progress" and not view.kinds and view.bar.is_shown:
            shown = progress_text.bar(payload) or event_text.text_of(payload)
            view.bar.set(_label(output.inline(shown), event, view))
            continue
        view.bar.make_way()
        if kind in ("final", "error") or (kind == "status" and payload["status"] in FINAL):
            finish(view)  # so that the result comes last
        if kind == "status" and not view.kinds:
            status = str(payload["status"])
            _print_text(
                _label(f"· {_text(kind, payload, view.fid)}", event, view),
                ts,
                view,
                _STATUS_STYLES.get(status, output.DIM),
            )
        elif _is_shown(kind, payload, view):
            for type_, body in _parts(kind, payload, view.fid):
                if type_ != "markdown":
                    _print_text(_label(body, event, view), ts, view, _style(kind, payload))
                    continue
                if view.timestamps or view.label or view.prefix:
                    _print_text(_label("", event, view), ts, view, "")
                output.print_markdown(body)


def _style(kind: str, payload: Any) -> str:
    style = _STYLES.get(kind, "")
    if kind != "step" or not isinstance(payload, dict):
        return style
    return _STEP_STYLES.get(str(payload.get("status")), style)


def _parts(kind: str, payload: Any, fid: str) -> list[tuple[str, str]]:
    """Return the bodies that a terminal shows of an event, each with its type."""
    if (
        kind == "lock"
        and isinstance(payload, dict)
        and (found := event_text.bodies_of(payload.get("data")))
    ):
        return [("text", event_text.describe_lock(payload, fid)), *found]
    return event_text.bodies_of(payload) or [("text", _text(kind, payload, fid, indent=2))]


def _print_text(text: str, ts: str, view: View, style: str) -> None:
    shown = output.paint(output.harmless(text), style)
    if view.timestamps:
        ts = output.paint(output.inline(times.at(ts, is_exact=True)), output.DIM)
    sys.stdout.write(_add_time(shown, ts, view) + "\n")


def _is_shown(kind: str, payload: Any, view: View) -> bool:
    if view.kinds:
        return kind in view.kinds
    # The result of a flow that returns nothing is not shown.
    if kind == "step" and not output.is_terminal() and isinstance(payload, dict):
        return payload.get("status") != "running"  # its outcome follows
    if kind == "status" and isinstance(payload, dict) and payload.get("resumed"):
        return True  # another process wrote the events after it
    return kind not in _QUIET and not (kind == "final" and payload is None)


def _text(kind: str, payload: Any, fid: str, *, indent: int | None = None) -> str:
    if kind == "error":
        return event_text.error_text(payload)
    if not isinstance(payload, dict):
        return _labelled(kind, payload, indent=indent)
    match kind:
        case "lock":
            data = payload.get("data")
            shown = "" if data is None else f"\n{event_text.text_of(data, indent=indent)}"
            return event_text.describe_lock(payload, fid) + shown
        case "lease":
            return event_text.describe_lease(payload)
        case "upload":
            return event_text.describe_file(payload)
        case "step":
            return event_text.describe_step(payload)
        case "progress" if text := progress_text.plain(payload):
            return f"progress: {text}"
        case "status":
            return event_text.describe_status(payload)
    return _labelled(kind, payload, indent=indent)


def _labelled(kind: str, payload: Any, *, indent: int | None) -> str:
    text = event_text.text_of(payload, indent=indent)
    return text if kind in _SELF_EVIDENT else f"{kind}: {text}"


def _label(text: str, event: Event, view: View) -> str:
    """Return text with the view's label before each line, and the name of a Ray task."""
    names = [output.inline(name) for name in (view.label, event.get("task")) if name]
    if not names:
        return text
    start = "".join(f"[{name}] " for name in names)
    return "\n".join(f"{start}{line}" for line in text.split("\n"))


def _add_time(text: str, ts: str, view: View) -> str:
    """Return text with the view's prefix and the time before each line, if it has them."""
    start = f"{view.prefix}{ts} " if view.timestamps else view.prefix
    return "\n".join(f"{start}{line}" for line in text.split("\n")) if start else text


def _too_slow(stream: Stream, timeout_s: float | None) -> TimedOutError:
    return TimedOutError(
        f"{stream.fid} has not ended within {timeout_s:g} s; it goes on",
        hint=f"`koco logs -f {stream.fid}` follows it again",
    )
