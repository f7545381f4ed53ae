"""What was measured: rows, as a table for people and as JSON for machines."""

import datetime as dt
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_TIMES = "\u00d7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure, the bar it must reach, and the same thing done without koco in this run.

    `bar` limits `value`, or with `bar_on="ratio"` the ratio of value and baseline;
    `at_least` turns it round. `more` holds what else was seen, by name.
    """

    name: str
    measure: str
    value: float
    unit: str
    bar: float | None = None
    bar_on: str = "value"
    at_least: bool = False
    baseline: float | None = None
    against: str = ""
    more: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times the baseline."""
        return self.value / self.baseline if self.baseline else None

    @property
    def reaches_bar(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        judged = self.ratio if self.bar_on == "ratio" else self.value
        if self.bar is None or judged is None:
            return None
        return judged >= self.bar if self.at_least else judged <= self.bar


def table(rows: list[Row]) -> str:
    """Return the rows as an aligned table."""
    lines = [("measure", "figure", "bar", "", "baseline in the same run", "ratio")]
    lines += [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.rjust(width) if column in (1, 2, 5) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    sign = "≥" if row.at_least else "≤"
    unit = _TIMES if row.bar_on == "ratio" else row.unit
    verdict = {None: "", True: "ok", False: "missed"}[row.reaches_bar]
    more = "".join(f"; {name} {_figure(value, '')}" for name, value in row.more.items())
    return (
        row.measure + more,
        _figure(row.value, row.unit),
        "" if row.bar is None else f"{sign} {_figure(row.bar, unit)}",
        verdict,
        f"{_figure(row.baseline, row.unit)} {row.against}" if row.baseline is not None else "",
        f"{row.ratio:.2f}{_TIMES}" if row.ratio is not None else "",
    )


def _figure(value: float, unit: str) -> str:
    if value >= 1000:
        text = f"{value:,.0f}"
    elif value >= 100 or value == int(value):
        text = f"{value:.0f}"
    else:
        text = f"{value:.2f}".rstrip("0").rstrip(".")
    return text + (unit if unit in ("%", _TIMES, "") else f" {unit}")


def document(rows: list[Row], *, seconds: float, load: tuple[float, float]) -> dict[str, Any]:
    """Return everything as data; `load` is the machine's load average before and after."""
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            # Ray's actors, and so the control plane, take it where it is installed.
            "uvloop": find_spec("uvloop") is not None and os.environ.get("RAY_USE_UVLOOP") != "0",
            "load_before": load[0],
            "load_after": load[1],
        },
        "took_s": round(seconds, 1),
        "rows": [
            asdict(row) | {"ratio": row.ratio, "reaches_bar": row.reaches_bar} for row in rows
        ],
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the JSON; its directory is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _commit() -> str | None:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None
