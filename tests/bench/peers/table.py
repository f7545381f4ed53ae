"""The table of all peers, for a terminal and as Markdown, with its footnotes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.peers.figures import Figures

#: What stands in a cell without a figure.
_NONE = "\u2013"
#: Fewer waiting executions than these are told.
_FEW = 50


@dataclass(frozen=True, slots=True)
class Column:
    """A measure: its name, its heading, and its cell's text, or None if there is no figure."""

    name: str
    heading: str
    cell: Callable[[Figures], str | None]


def _unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{figure(value)} {unit}"


def figure(value: float) -> str:
    """Return a number with three significant digits, as far as it has them."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _idle(figures: Figures) -> str | None:
    if figures.idle_mb is None:
        return None
    return f"{figure(figures.idle_mb)} MB in {figures.processes}"


def _lost(figures: Figures) -> str | None:
    losses = figures.losses
    if losses is None:
        return None
    kinds = {
        "failed": losses.failed,
        "stuck": losses.stuck,
        "unknown": losses.gone,
        "never ran": losses.hollow,
    }
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return f"{losses.lost} of {losses.accepted}" + (f" ({told})" if told else "")


def _twice(figures: Figures) -> str | None:
    return None if figures.losses is None else str(figures.losses.twice)


COLUMNS = (
    Column("ready", "start-up to ready", lambda f: _unit(f.ready_s, "s")),
    Column("accepted", "launch accepted, p50", lambda f: _unit(f.accepted_ms, "ms")),
    Column("finished", "launch to finished, p50", lambda f: _unit(f.finished_ms, "ms")),
    Column("rate", "short executions", lambda f: _unit(f.per_s, "/s")),
    Column("idle", "memory idle, processes", _idle),
    Column("waiting", "per 100 waiting", lambda f: _unit(f.waiting_mb, "MB")),
    Column("lost", "lost after kill -9", _lost),
    Column("twice", "began twice", _twice),
)
#: Of other names than the column's: the measure that makes its figure.
_MADE_BY = {"accepted": "finished", "twice": "lost"}


@dataclass(slots=True)
class Footnotes:
    """Footnotes in the order in which they are first called; the same words have one number."""

    words: list[str] = field(default_factory=list)

    def number(self, words: str) -> int:
        """Return a footnote's number."""
        if words not in self.words:
            self.words.append(words)
        return self.words.index(words) + 1


def _cell(figures: Figures, column: Column, notes: Footnotes) -> tuple[str, list[int]]:
    """Return a cell's text and its footnotes. A cell without a figure says why there is none."""
    text = column.cell(figures)
    made_by = _MADE_BY.get(column.name, column.name)
    if text is None:
        words = (
            figures.lacks.get(column.name)
            or figures.failed.get("peer")
            or figures.failed.get(made_by)
            or "Not measured."
        )
        return _NONE, [notes.number(words)]
    found = [figures.notes[column.name]] if column.name in figures.notes else []
    if column.name == "rate" and figures.refused:
        found.append(
            f"While it was busy, {figures.refused} launches were refused with 429 or 503 and sent "
            "again."
        )
    if column.name == "waiting" and figures.waited < _FEW:
        found.append(f"Measured with {figures.waited}.")
    if column.name == "twice" and figures.losses and figures.losses.twice:
        found.append("They had begun before the kill, and had no recorded outcome.")
    return text, [notes.number(words) for words in found]


def _rows(all_figures: list[Figures]) -> tuple[list[list[tuple[str, list[int]]]], Footnotes]:
    notes = Footnotes()
    rows = []
    for figures in all_figures:
        named = (figures.title, [notes.number(figures.setup)])
        rows.append([named, *(_cell(figures, column, notes) for column in COLUMNS)])
    return rows, notes


def plain(all_figures: list[Figures]) -> str:
    """Return the table for a terminal."""
    rows, notes = _rows(all_figures)
    lines = [["", *(column.heading for column in COLUMNS)]]
    lines += [
        [text + "".join(f" [{number}]" for number in numbers) for text, numbers in row]
        for row in rows
    ]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    told = [f"[{number}] {words}" for number, words in enumerate(notes.words, start=1)]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], "", *told])


def markdown(all_figures: list[Figures]) -> str:
    """Return the table as Markdown, with numbered footnotes below."""
    rows, notes = _rows(all_figures)
    lines = ["| | " + " | ".join(column.heading for column in COLUMNS) + " |"]
    lines += ["|---" * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        cells = [
            text + (f" <sup>{', '.join(map(str, numbers))}</sup>" if numbers else "")
            for text, numbers in row
        ]
        lines.append("| " + " | ".join(cells) + " |")
    told = [f"{number}. {words}" for number, words in enumerate(notes.words, start=1)]
    return "\n".join([*lines, "", *told])
