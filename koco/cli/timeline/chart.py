"""A timeline as a bar chart of characters."""

from collections.abc import Sequence

from koco.cli.terminal import output, times
from koco.cli.timeline.spans import Span, Timeline

#: The most rows of a chart. More spans are drawn as groups.
ROWS = 60
#: The widest column of names, and the narrowest bars (characters).
_LABEL, _BARS = 28, 20
#: The room for a duration behind a bar (characters).
_TOOK = 7

_MAGENTA = "35"
_STYLES = {
    **{"environment": output.YELLOW, "import": output.YELLOW},
    **{"queued": output.DIM, "starting": output.YELLOW, "running": output.CYAN},
    **{"awaiting": _MAGENTA, "sleeping": output.BLUE, "lock": _MAGENTA},
    **{"wait": output.BLUE, "task": output.YELLOW, "file": output.DIM},
}
_STATUS_STYLES = {"error": output.RED, "cancelled": output.YELLOW, "expired": output.YELLOW}


def draw(timeline: Timeline, spans: Sequence[Span]) -> list[str]:
    """Return the lines of a chart, as wide as the terminal."""
    lines = [title(timeline), totals(timeline), ""]
    labels = [label_of(span) for span in spans]
    room = min(_LABEL, max(map(len, labels), default=0))
    width = max(_BARS, output.room() - room - _TOOK - 3)
    lines.append(f"{'':{room}} {_scale(timeline, width)}")
    for span, label in zip(spans, labels, strict=True):
        bar = _bar(span, timeline, width)
        took = took_of(span, timeline)
        style = _STATUS_STYLES.get(span.status) or _STYLES.get(span.kind, output.GREEN)
        shown = output.shortened(label, room)
        lines.append(f"{shown:{room}} {output.paint(bar, style)} {took:>{_TOOK}}".rstrip())
    return lines


def label_of(span: Span) -> str:
    """Return the text beside a span: its kind, and its name if it has one."""
    return output.inline(f"{span.kind} {span.name}".strip())


def took_of(span: Span, timeline: Timeline) -> str:
    """Return how long a span took, or takes; nothing of a file, which is a moment."""
    return times.exact(span.duration_s(timeline.end_s)) if span.kind != "file" else ""


def title(timeline: Timeline) -> str:
    """Return which execution it is, its status, and how long it took."""
    took = times.exact(timeline.whole_s)
    so_far = " so far" if timeline.is_open else ""
    return f"{timeline.fid} {output.inline(timeline.flow)} {timeline.status}, {took}{so_far}"


def totals(timeline: Timeline) -> str:
    """Return how long the execution had each status."""
    whole_s = timeline.whole_s or 1.0
    return ", ".join(
        f"{name} {times.exact(spent_s)} ({spent_s / whole_s:.0%})"
        for name, spent_s in timeline.totals()
    )


def _scale(timeline: Timeline, width: int) -> str:
    """Return the times below which the bars stand: the start, the middle and the end."""
    middle, end = times.exact(timeline.whole_s / 2), times.exact(timeline.whole_s)
    half = width // 2
    return f"{'0':{half}}{middle:<{width - half - len(end)}}{end}"


def _bar(span: Span, timeline: Timeline, width: int) -> str:
    """Return a bar: `█` where the span lasts, `▶` at its end if it has none yet."""
    whole_s = timeline.whole_s or 1.0
    cells = bytearray(width)
    for start_s, end_s in span.stretches:
        first = _cell(start_s - timeline.start_s, whole_s, width)
        last_s = timeline.end_s if end_s is None else end_s
        # A moment has a cell as well.
        last = max(first, _cell(last_s - timeline.start_s, whole_s, width, is_end=True))
        cells[first : last + 1] = b"\1" * (last + 1 - first)
    mark = "▏" if span.kind == "file" else "█"
    drawn = "".join(mark if cell else "·" if at % 10 == 0 else " " for at, cell in enumerate(cells))
    return drawn if span.end_s is not None else f"{drawn[:-1]}▶"


def _cell(at_s: float, whole_s: float, width: int, *, is_end: bool = False) -> int:
    cell = at_s / whole_s * width
    # A bar that ends on the border of two cells ends in the first one.
    return min(max(int(-(-cell // 1)) - 1 if is_end else int(cell), 0), width - 1)
