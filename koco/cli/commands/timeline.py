"""`koco timeline`: show where an execution's time went."""

import itertools
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from koco.cli import arguments, connection, pages
from koco.cli.arguments import Fid
from koco.cli.parameters import Option
from koco.cli.terminal import output, times
from koco.cli.timeline import chart, picture, spans
from koco.cli.timeline.spans import Span, Timeline
from koco.client.client import Client
from koco.errors import OutputError

#: The most children that are drawn.
_CHILDREN = 1000


def command(
    fid: Fid = "-",
    html: Annotated[
        Path | None, Option(metavar="FILE", help="Write it as a page of HTML instead.")
    ] = None,
    svg: Annotated[
        Path | None, Option(metavar="FILE", help="Write it as a picture (SVG) instead.")
    ] = None,
    as_json: Annotated[
        bool, Option("--json", help="Print the spans as JSON, each with its times.")
    ] = False,
) -> None:
    """Show where an execution's time went, as a bar chart.

    The bars are the times in which it was queued, starting, running, awaiting or sleeping, and
    below them its steps, locks, files, Ray tasks and the executions that it launched. The files
    of --html and --svg need nothing from elsewhere.

    Example: koco timeline 5wzk --html timeline.html
    """
    client = connection.connect()
    timeline = _read(client, arguments.resolve_fid(client, fid))
    if html is not None:
        _write(html, picture.page(timeline, spans.grouped(timeline.spans, picture.ROWS)))
    if svg is not None:
        _write(svg, picture.svg(timeline, spans.grouped(timeline.spans, picture.ROWS)))
    if as_json:
        output.print_json(_wire(timeline))
    elif html is None and svg is None:
        _print(timeline)


def _read(client: Client, given: str) -> Timeline:
    stream = client.stream(client.execution(given)["fid"])
    lines = list(itertools.chain.from_iterable(_heads(piece) for piece in stream))
    # Asked after its events, so that it is not older than they are.
    execution = client.execution(stream.fid)
    children = pages.gather(client.executions, _CHILDREN, parent=stream.fid)["items"]
    return spans.read(lines, execution, children, now_s=time.time())


def _heads(lines: list[bytes]) -> list[bytes]:
    """Return the lines that matter, so that the rest is not kept."""
    return [line for line in lines if spans.matters(line)]


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as exc:
        raise OutputError(f"cannot write {file}: {exc.strerror}") from exc
    output.note(f"wrote {file}")


def _print(timeline: Timeline) -> None:
    if output.is_terminal():
        for line in chart.draw(timeline, spans.grouped(timeline.spans, chart.ROWS)):
            sys.stdout.write(f"{line}\n")
        return
    rows = [_row(timeline, span) for span in timeline.spans]
    output.print_table(("kind", "name", "start_s", "duration_s", "status"), rows)


def _row(timeline: Timeline, span: Span) -> list[str]:
    start_s = span.start_s - timeline.start_s
    took_s = span.duration_s(timeline.end_s)
    status = "open" if span.end_s is None else span.status
    return [span.kind, span.name or "-", f"{start_s:.6f}", f"{took_s:.6f}", status or "-"]


def _wire(timeline: Timeline) -> dict[str, Any]:
    return {
        **{"fid": timeline.fid, "flow": timeline.flow, "status": timeline.status},
        **{"start": _time(timeline.start_s)},
        "end": None if timeline.is_open else _time(timeline.end_s),
        "totals": {name: round(spent_s, 6) for name, spent_s in timeline.totals()},
        "items": [
            {
                **{"kind": span.kind, "name": span.name, "status": span.status or None},
                **{"start": _time(span.start_s)},
                "end": None if span.end_s is None else _time(span.end_s),
                "duration_s": round(span.duration_s(timeline.end_s), 6),
            }
            for span in timeline.spans
        ],
        "next": None,
    }


def _time(at_s: float) -> str:
    return times.rfc3339(datetime.fromtimestamp(at_s, UTC))
