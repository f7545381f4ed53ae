"""Make the pictures of the README: what a terminal shows while koco really runs.

    .venv/bin/python docs/pictures/make.py [NAME…]

It starts a koco with a Ray of its own, and ends it. Only what differs from run to run or tells of
this machine is replaced: ids of executions, ports, directories and users.
"""

import html
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

import pyte  # noqa: E402 - the checkout comes first

from tests.support.driver import Koco, eventually, koco_of_its_own  # noqa: E402
from tests.support.screen import Screen  # noqa: E402
from tests.support.typist import CTRL_C, Typist  # noqa: E402

#: The size of a character, and what is around the text (pixels).
_WIDTH, _HEIGHT, _EDGE, _BAR = 8.4, 18, 14, 30
#: The colours of a terminal, by pyte's names.
_COLOURS = {
    **{"default": "#e6edf3", "black": "#484f58", "red": "#ff7b72", "green": "#3fb950"},
    **{"brown": "#d29922", "blue": "#58a6ff", "magenta": "#bc8cff", "cyan": "#39c5cf"},
    **{"white": "#e6edf3", "brightblack": "#8b949e", "brightred": "#ffa198"},
    **{"brightgreen": "#56d364", "brightbrown": "#e3b341", "brightblue": "#79c0ff"},
    **{"brightmagenta": "#d2a8ff", "brightcyan": "#56d4dd", "brightwhite": "#ffffff"},
}
_BACK = "#0d1117"
#: Dim text, which pyte does not know, as the nearest that it does.
_DIM = re.compile(rb"\x1b\[2m")
#: What stands for the ids of executions, in their order.
_FIDS = (
    *("5wzkq0v6mz5x8d1r", "h2p7rk4t9c0nw6ye", "b8x3m1s5vq7d0fzg", "j6t9w2y4k8a1p3nc"),
    *("q1c5e8g2r7m4x0vh", "z3n6b9d2f5k8s1ta", "w7y0h4j8p2q5t9vb", "d4g1k7m0r3x6z9sc"),
)


class Sheet:
    """What one terminal has shown, from top to bottom."""

    def __init__(self, koco: Koco, columns: int = 88, rows: int = 120) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._koco = koco

    def feed(self, piece: bytes) -> None:
        """Show what a program writes."""
        self._stream.feed(_DIM.sub(b"\x1b[90m", piece))

    def run(
        self, folder: Path, command: str, typed: Sequence[tuple[str, str]] = (), *, code: int = 0
    ) -> None:
        """Run a command of koco as somebody would who then types answers to what is asked."""
        self.feed(b"\x1b[1;32m$\x1b[0m \x1b[1mkoco " + command.encode() + b"\x1b[0m\r\n")
        env = environment(self._koco)
        size = {"columns": self.screen.columns, "rows": self.screen.lines}
        args = ["-m", "koco", *command.split()]
        with _Recorded(args, cwd=folder, env=env, **size) as person:
            person.sheet = self
            for after, text in typed:
                person.types(text, after=after)
            assert person.leaves() == code, person.seen
        self.feed(b"\r\n")


class _Recorded(Typist):
    sheet: Sheet | None = None
    _rest = b""

    def _take(self, piece: bytes) -> None:
        super()._take(piece)
        if self.sheet is not None:
            self.sheet.feed(piece)


def environment(koco: Koco) -> dict[str, str]:
    """Return the environment of commands: in colour, and of nobody in particular."""
    colours = {"TERM": "xterm", "NO_COLOR": "", "COLUMNS": "", "LINES": ""}
    return {**koco.env, **colours, "USER": "ada", "LOGNAME": "ada", "HOME": str(koco.root)}


# pictures


def demo(koco: Koco) -> str:
    """A project scaffolded, deployed, run and followed."""
    sheet = Sheet(koco)
    sheet.run(koco.root, "init hello -t hello")
    folder = koco.root / "hello"
    sheet.run(folder, "deploy")
    sheet.run(folder, "run greet -i who=Ada -f")
    sheet.run(folder, "ps -a")
    return svg(koco, sheet.screen, "koco init, deploy, run")


def failing_deploy(koco: Koco) -> str:
    """A deploy of code that cannot be imported: the author's own traceback."""
    folder = koco.project("invoices", "import stripe_client\n\ndef send(): ...\n")
    sheet = Sheet(koco)
    sheet.run(folder, "deploy", code=5)
    return svg(koco, sheet.screen, "a deploy that fails")


def approval(koco: Koco) -> str:
    """A flow that asks a person, and goes on with the answer."""
    deploy(koco)
    sheet = Sheet(koco)
    fid = koco.launch("pages/report")
    eventually(lambda: koco.get(f"/v1/executions/{fid}")["status"] == "awaiting")
    sheet.run(koco.root, "inbox")
    answers = (("> ", "y\r"), ("> ", "\r"))
    sheet.run(koco.root, f"answer {fid[:6]}", answers)
    koco.events(fid)
    sheet.run(koco.root, f"result {fid[:6]}")
    return svg(koco, sheet.screen, "an approval")


def timeline(koco: Koco) -> str:
    """Where the time of that execution went."""
    deploy(koco)
    fid = koco.launch("pages/report")
    eventually(lambda: koco.get(f"/v1/executions/{fid}")["status"] == "awaiting")
    time.sleep(2)
    koco.run("answer", fid, "-i", "ok=yes", "--no-input").ok()
    koco.events(fid)
    sheet = Sheet(koco)
    sheet.run(koco.root, f"timeline {fid[:6]}")
    return svg(koco, sheet.screen, "koco timeline")


def top(koco: Koco) -> str:
    """A live view of services and executions."""
    deploy(koco)
    sites = (("tides.example", 20), ("moon.example", 60), ("sea.example", 240))
    koco.launch("pages/report")
    for site, pages in sites:
        koco.launch("pages/crawl", site=site, pages=pages)
    args = ["-m", "koco", "top", "--all", "service=pages"]
    with Screen(args, columns=100, rows=28, env=environment(koco)) as screen:
        screen.shows("error", "awaiting", "Quit")
        screen.presses("\x1b[B")
        screen.shows("GET https://moon.example")
        picture = svg(koco, screen.screen, "koco top")
        screen.presses(CTRL_C)
        screen.leaves()
    return picture


PICTURES: dict[str, Callable[[Koco], str]] = {
    "demo": demo,
    "failing-deploy": failing_deploy,
    "approval": approval,
    "top": top,
    "timeline": timeline,
}


def deploy(koco: Koco) -> None:
    """Deploy the pages that pictures show, with nothing of earlier pictures."""
    koco.clear()
    # A copy: the checkout is a project of its own, which would be deployed otherwise.
    folder = shutil.copytree(HERE / "pages", koco.root / "pages", dirs_exist_ok=True)
    koco.run("deploy", cwd=folder).ok()


# drawing


def svg(koco: Koco, screen: pyte.Screen, title: str) -> str:
    """Return a screen as a picture that needs nothing from elsewhere."""
    lines = [screen.buffer[y] for y in range(screen.lines)]
    texts = [line.rstrip() for line in screen.display]
    count = max((y + 1 for y, text in enumerate(texts) if text), default=1)
    width = round(screen.columns * _WIDTH + 2 * _EDGE)
    height = _BAR + count * _HEIGHT + _EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img" aria-label="{html.escape(title)}">',
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
        "monospace;white-space:pre}.b{font-weight:700}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{_BACK}"/>',
        *(
            f'<circle cx="{_EDGE + 6 + 18 * n}" cy="16" r="5" fill="{colour}"/>'
            for n, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        ),
    ]
    for y in range(count):
        parts += _line(lines[y], y, screen.columns)
    return anonymous(koco, "\n".join([*parts, "</svg>", ""]))


def _line(line: "dict[int, pyte.screens.Char]", y: int, columns: int) -> list[str]:
    """Return the pieces of a line that look alike."""
    parts, x = [], 0
    while x < columns:
        first, char = x, line[x]
        while x < columns and line[x]._replace(data="") == char._replace(data=""):
            x += 1
        text = "".join(line[at].data for at in range(first, x))
        fore, back = _colour(char.fg), None if char.bg == "default" else _colour(char.bg)
        if char.reverse:
            fore, back = back or _BACK, fore
        if back:
            parts.append(
                f'<rect x="{_at(first)}" y="{_BAR + y * _HEIGHT}" width="{_long(x - first)}"'
                f' height="{_HEIGHT}" fill="{back}"/>'
            )
        parts += _text(text, first, y, fore, is_bold=char.bold)
    return parts


def _text(text: str, x: int, y: int, colour: str, *, is_bold: bool) -> list[str]:
    bare = text.strip()
    if not bare:
        return []
    x += len(text) - len(text.lstrip())
    weight = ' class="b"' if is_bold else ""
    return [
        f'<text{weight} x="{_at(x)}" y="{_BAR + y * _HEIGHT + 14}" textLength="{_long(len(bare))}"'
        f' lengthAdjust="spacingAndGlyphs" fill="{colour}">{html.escape(bare)}</text>'
    ]


def _at(column: int) -> str:
    return f"{_EDGE + column * _WIDTH:g}"


def _long(columns: int) -> str:
    return f"{columns * _WIDTH:g}"


def _colour(name: str) -> str:
    return _COLOURS.get(name) or f"#{name}"


def anonymous(koco: Koco, text: str) -> str:
    """Return a picture without what differs from run to run, or tells of this machine."""
    known: dict[str, str] = {}
    for each in koco.get("/v1/executions", limit=100)["items"][::-1]:
        known[each["fid"]] = _FIDS[len(known) % len(_FIDS)]
    for fid, other in known.items():
        for length in range(16, 4, -1):
            text = text.replace(fid[:length], other[:length])
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8400", text)
    return text.replace(str(koco.root), "~")


def main(names: list[str]) -> int:
    """Make all pictures, or those that are named."""
    os.umask(0o022)
    with koco_of_its_own() as koco:
        koco.up()
        for name in names or PICTURES:
            (HERE / f"{name}.svg").write_text(PICTURES[name](koco), "utf-8")
            print(f"docs/pictures/{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
