"""A timeline as a picture: SVG, alone or in a page of HTML.

One file that needs nothing from elsewhere: no script, no font, no style sheet. Names come from
events, which anybody may write, so everything is escaped.
"""

import html
import re
from collections.abc import Sequence

from koco.cli.terminal import output, times
from koco.cli.timeline import chart
from koco.cli.timeline.spans import PHASES, Span, Timeline

#: The most rows of a picture. More spans are drawn as groups.
ROWS = 500
#: The most pieces of one row: further ones could not be told apart.
_PIECES = 2000

#: Sizes (pixels): names, bars, durations; the height of a row, and of what is above the first one.
_NAMES, _BARS, _TOOK, _ROW, _TOP = 240, 700, 80, 22, 86
_WIDTH = _NAMES + _BARS + _TOOK

#: The colours of kinds and statuses, in the light and in the dark.
_COLOURS = {
    "queued": ("#8c959f", "#8b949e"),
    "starting": ("#bf8700", "#d29922"),
    "running": ("#0969da", "#4493f8"),
    "awaiting": ("#bf3989", "#db61a2"),
    "sleeping": ("#8250df", "#ab7df8"),
    "environment": ("#9a6700", "#d29922"),
    "import": ("#9a6700", "#d29922"),
    "step": ("#1a7f37", "#3fb950"),
    "wait": ("#8250df", "#ab7df8"),
    "lock": ("#bf3989", "#db61a2"),
    "task": ("#9a6700", "#d29922"),
    "file": ("#57606a", "#9198a1"),
    "child": ("#1b7c83", "#39c5cf"),
    "error": ("#cf222e", "#f85149"),
}
_FAILED = frozenset({"error", "expired", "cancelled"})
#: What XML 1.0 cannot hold, even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(timeline: Timeline, spans: Sequence[Span]) -> str:
    """Return a timeline as a file of SVG."""
    height, title = _TOP + _ROW * len(spans) + 12, _text(chart.title(timeline))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img" aria-label="{title}">',
        f"<style>{_style()}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{title}</text>',
        f'<text class="quiet" x="12" y="46">{_text(chart.totals(timeline))}</text>',
        *_scale(timeline, height),
    ]
    for number, span in enumerate(spans):
        parts += _row(timeline, span, _TOP + _ROW * number)
    return "\n".join([*parts, "</svg>", ""])


def page(timeline: Timeline, spans: Sequence[Span]) -> str:
    """Return a timeline as a page of HTML."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            # Nothing is loaded, and nothing runs, whatever is in the names.
            '<meta http-equiv="Content-Security-Policy"'
            " content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f"<title>{_text(chart.title(timeline))}</title>",
            "<style>body{margin:0;background:#fff}svg{max-width:100%;height:auto}"
            "@media(prefers-color-scheme:dark){body{background:#0d1117}}</style>",
            "</head><body>",
            svg(timeline, spans) + "</body></html>",
            "",
        ]
    )


def _style() -> str:
    light = "".join(f".{name}{{fill:{colour}}}" for name, (colour, _) in _COLOURS.items())
    dark = "".join(f".{name}{{fill:{colour}}}" for name, (_, colour) in _COLOURS.items())
    return (
        "text{font:13px ui-sans-serif,system-ui,sans-serif;fill:#1f2328}"
        ".title{font-size:16px;font-weight:600}.quiet{fill:#59636e;font-size:12px}"
        ".back{fill:#fff}.line{stroke:#d1d9e0}.band{fill:#f6f8fa}.open{opacity:.65}"
        f"{light}@media(prefers-color-scheme:dark){{text{{fill:#f0f6fc}}.quiet{{fill:#9198a1}}"
        f".back{{fill:#0d1117}}.line{{stroke:#3d444d}}.band{{fill:#151b23}}{dark}}}"
    )


def _scale(timeline: Timeline, height: int) -> list[str]:
    parts = []
    for number in range(5):
        x = _NAMES + _BARS * number / 4
        at = _text("0" if not number else times.exact(timeline.whole_s * number / 4))
        anchor = ("start", "middle", "middle", "middle", "end")[number]
        parts.append(f'<line class="line" x1="{x}" x2="{x}" y1="{_TOP - 8}" y2="{height - 8}"/>')
        place = f'x="{x}" y="{_TOP - 14}" text-anchor="{anchor}"'
        parts.append(f'<text class="quiet" {place}>{at}</text>')
    return parts


def _row(timeline: Timeline, span: Span, y: int) -> list[str]:
    whole_s = timeline.whole_s or 1.0
    name = chart.label_of(span)
    colour = "error" if span.status in _FAILED and span.kind not in PHASES else span.kind
    took = chart.took_of(span, timeline)
    about = ", ".join(each for each in (name, took, span.status) if each)
    parts = [
        f"<g><title>{_text(about)}</title>",
        f'<text x="12" y="{y + 15}">{_text(output.shortened(name, 34))}</text>',
    ]
    for start_s, end_s in span.stretches[:_PIECES]:
        x = _NAMES + _BARS * (start_s - timeline.start_s) / whole_s
        last_s = timeline.end_s if end_s is None else end_s
        end_x = _NAMES + _BARS * (last_s - timeline.start_s) / whole_s
        is_open = " open" if end_s is None else ""
        parts.append(
            f'<rect class="{colour}{is_open}" x="{min(x, _NAMES + _BARS - 2):.2f}" y="{y + 4}"'
            f' width="{max(end_x - x, 2):.2f}" height="{_ROW - 8}" rx="2"/>'
        )
    parts.append(f'<text class="quiet" x="{_NAMES + _BARS + 8}" y="{y + 15}">{_text(took)}</text>')
    return [*parts, "</g>"]


def _text(text: str) -> str:
    return html.escape(_NOT_XML.sub("\ufffd", text))
