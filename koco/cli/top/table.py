"""The table of executions. Only lines that can be seen are drawn, and again only if they change.

Textual's own table draws all of it whenever rows come or go: with a thousand rows that takes a
quarter of a core if something happens every second.
"""

from collections.abc import Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from koco.cli.top import facts
from koco.client.answers import Execution

#: The styles of cells, by their text.
STYLES: Mapping[str, str] = {
    **{"finished": "green", "error": "red", "cancelled": "yellow", "running": "cyan"},
    **{"awaiting": "magenta", "sleeping": "blue", "live": "green", "failing": "red"},
    **{"failed": "red", "starting": "cyan", "draining": "yellow"},
}
_PLAIN, _HEAD, _CURSOR = Style(), Style(bold=True), Style(reverse=True)


class Table(ScrollView, can_focus=True):
    """Executions, one a line below a line of headings, and a cursor on one of them."""

    class Moved(Message):
        """The cursor is on another execution, or nothing is left."""

    class Chosen(Message):
        """The line under the cursor was clicked."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - as textual calls it
        super().__init__(id=id)
        self._columns: Mapping[str, int] = {}
        self._items: Sequence[Execution] = ()
        self._place = 0
        #: The lines as they were drawn last, below the headings.
        self._drawn: list[tuple[str, ...]] = []

    @property
    def execution(self) -> Execution | None:
        """The execution under the cursor."""
        return self._items[self._place] if self._items else None

    @property
    def is_at_end(self) -> bool:
        """Whether the cursor is on the last execution."""
        return self._place >= len(self._items) - 1

    def fit(self, columns: Mapping[str, int]) -> None:
        """Show these columns."""
        self._columns = columns
        self._draw()

    def show(self, items: Sequence[Execution]) -> None:
        """Show executions. The cursor stays on its own, or in its place."""
        former, place = self.execution, self._place
        self._items = items
        fids = [each["fid"] for each in items]
        is_there = former is not None and former["fid"] in fids
        self._place = fids.index(former["fid"]) if is_there and former else place
        self._place = max(min(self._place, len(items) - 1), 0)
        self.virtual_size = Size(self.size.width, len(items) + 1)
        if self.scroll_y and is_there:
            # New lines above the visible ones do not move those.
            self.scroll_to(y=self.scroll_y + self._place - place, animate=False)
        self._keep_in_sight()
        self._draw()
        if (former and former["fid"]) != (self.execution and self.execution["fid"]):
            self.post_message(self.Moved())

    def tick(self) -> None:
        """Bring the times of the lines that can be seen up to date."""
        self._draw()

    def move(self, place: int) -> None:
        """Move the cursor to a line; -1 is the last one."""
        place = len(self._items) - 1 if place < 0 else place
        place = max(min(place, len(self._items) - 1), 0)
        if place != self._place:
            self._place = place
            self._keep_in_sight()
            self._draw()
            self.post_message(self.Moved())

    def step(self, lines: int, *, pages: int = 0) -> None:
        """Move the cursor up or down by so many lines and pages."""
        self.move(max(self._place + lines + pages * max(self.size.height - 2, 1), 0))

    def on_resize(self, event: Resize) -> None:
        """Keep the cursor in sight."""
        self.virtual_size = Size(event.size.width, len(self._items) + 1)
        self._keep_in_sight()
        self._draw()

    def on_click(self, event: Click) -> None:
        """Move the cursor to a line; the line under the cursor is chosen."""
        place = int(self.scroll_y) + event.y - 1
        if event.y > 0 and place == self._place:
            self.post_message(self.Chosen())
        elif event.y > 0 and place < len(self._items):
            self.move(place)

    def _keep_in_sight(self) -> None:
        room = max(self.size.height - 1, 1)
        first = int(self.scroll_target_y)
        if self._place < first:
            self.scroll_to(y=self._place, animate=False)
        elif self._place >= first + room:
            self.scroll_to(y=self._place - room + 1, animate=False)

    # drawing

    def _draw(self) -> None:
        """Draw again the lines that have changed."""
        lines = [self._line(y) for y in range(1, self.size.height)]
        if len(lines) != len(self._drawn):
            self.refresh()
        else:
            for y, (line, former) in enumerate(zip(lines, self._drawn, strict=True), 1):
                if line != former:
                    self.refresh(Region(0, y, self.size.width, 1))
        self._drawn = lines

    def _line(self, y: int) -> tuple[str, ...]:
        """Return the cells of a line of the widget, and "" or ">" for the cursor."""
        place = int(self.scroll_y) + y - 1
        if place >= len(self._items):
            return ()
        row = facts.row(self._items[place])
        # Only the start of a fid fits a narrow column, and is enough to name it.
        row["FID"] = row["FID"][: self._columns["FID"]]
        cells = (_fit(row[name], width) for name, width in self._columns.items())
        return (">" if place == self._place else "", *cells)

    def render_line(self, y: int) -> Strip:
        """Return a line of the widget."""
        if y == 0:
            names = (_fit(name, width) for name, width in self._columns.items())
            segments = [Segment(f" {name} ", _HEAD) for name in names]
        else:
            mark, *cells = self._line(y) or ("",)
            segments = [Segment(f" {cell} ", self._style(cell, mark)) for cell in cells]
        return Strip(segments).adjust_cell_length(self.size.width)

    def _style(self, cell: str, mark: str) -> Style:
        if mark:
            return _CURSOR
        named = STYLES.get(cell.rstrip())
        return Style.parse(named) if named else _PLAIN


def _fit(text: str, width: int) -> str:
    """Return a text that takes exactly so many cells of the terminal."""
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)
