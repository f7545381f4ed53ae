"""The screen of `koco top`.

Requests are made in threads of their own, and their outcomes are shown in textual's. Text is given
to textual as `Text`, because it would read the names of flows as markup otherwise.
"""

import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import DataTable, Footer, Input, Static

from koco.cli.live.feed import Feed
from koco.cli.live.listing import Listing
from koco.cli.top import facts
from koco.cli.top.dialogs import Help, Question
from koco.cli.top.facts import Filter, Usage
from koco.cli.top.tail import Tail
from koco.client.answers import Execution, Executions, Overview
from koco.client.client import Client
from koco.errors import Interrupted, KocoError, UnreachableError, UsageError
from koco.events.model import FINAL

#: How often ages and durations are brought up to date (seconds).
_TICK_S = 2.0
#: How often services and runners are looked at, at most (seconds).
_OVERVIEW_S = 3.0
#: How long a cancelled execution may take to end (seconds).
_GRACE_S = 5.0

#: The actions of keys of the list.
_KEYS = ("follow", "cancel", "retry", "answer", "ended", "filter", "help", "move", "quit")

_STYLES = {
    **{"finished": "green", "error": "red", "cancelled": "yellow", "running": "cyan"},
    **{"awaiting": "magenta", "sleeping": "blue", "live": "green", "failing": "red"},
    **{"failed": "red", "starting": "cyan", "draining": "yellow"},
}


class Top(App[int]):
    """Services above, executions below them, and the last lines of the one under the cursor."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; text-style: bold; }
    #trouble { height: auto; max-height: 2; color: ansi_yellow; display: none; }
    #services { height: auto; max-height: 25%; }
    #executions { height: 1fr; }
    #tail { height: 30%; border-top: solid ansi_bright_black; }
    #filter { height: 1; border: none; display: none; }
    Question, Help { align: center middle; }
    .dialog { width: auto; max-width: 100%; height: auto; max-height: 100%; padding: 1 2;
              border: solid ansi_bright_black; }
    .help { width: 78; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding("f,enter", "follow", "Follow", key_display="f"),
        Binding("c", "cancel", "Cancel"),
        Binding("r", "retry", "Retry"),
        Binding("a", "answer", "Answer"),
        Binding("e", "ended", "Ended"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("escape", "leave_filter", show=False),
        Binding("home,g", "move(0)", show=False, priority=True),
        Binding("end,G", "move(-1)", show=False, priority=True),
    ]

    def __init__(
        self,
        connect: Callable[[], Client],
        overview: Overview,
        *,
        filter_: Filter,
        options: Sequence[str],
    ) -> None:
        """`options` are those of `koco` with which other commands reach the same control plane."""
        super().__init__(ansi_color=True)
        self.animation_level = "none"
        #: Why it has ended, if that was not the user.
        self.error: KocoError | None = None
        self._connect = connect
        self._overview = overview
        self._filter = filter_
        self._options = options
        self._limit = facts.PAGE
        self._feed = Feed(connect)
        self._tail = Tail(connect, lambda *lines: self._from_thread(self._show_tail, *lines))
        self._usage = Usage()
        self._items: dict[str, Execution] = {}
        self._has_more = False
        self._columns: dict[str, int] = {}

    # the screen

    def compose(self) -> ComposeResult:
        """Make the parts of the screen, from top to bottom."""
        yield Static("", id="head", markup=False)
        yield Static("", id="trouble", markup=False)
        services: DataTable[Text] = DataTable(id="services", show_cursor=False)
        services.can_focus = False
        yield services
        executions: DataTable[Text] = DataTable(id="executions", cursor_type="row")
        yield executions
        yield Static("", id="tail", markup=False)
        yield Input(id="filter", placeholder="status=error flow=NAME words", select_on_focus=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._services.add_columns(*facts.SERVICES)
        self._executions.focus()
        self._show_overview()
        self.set_interval(_TICK_S, self._tick)
        threading.Thread(target=self._watch, daemon=True).start()

    def on_resize(self) -> None:
        """Fit the columns to the width."""
        columns = facts.columns(self.size.width)
        if columns != self._columns:
            self._columns = columns
            self._executions.clear(columns=True)
            for name, width in columns.items():
                self._executions.add_column(name, width=width, key=name)
            self._fill([*self._items.values()])

    @property
    def _services(self) -> "DataTable[Text]":
        return self.query_one("#services", DataTable)

    @property
    def _executions(self) -> "DataTable[Text]":
        return self.query_one("#executions", DataTable)

    def _show_overview(self) -> None:
        self.query_one("#head", Static).update(facts.heading(self._overview))
        table = self._services
        table.clear()
        for row in facts.services(self._overview, self._usage):
            table.add_row(*map(_cell, row))

    def _show(self, items: list[Execution], trouble: str, has_more: bool) -> None:
        """Show executions: only the cells that differ, if they are the same executions."""
        notice = self.query_one("#trouble", Static)
        notice.update(trouble)
        notice.display = bool(trouble)
        former, self._has_more = self._items, has_more
        self._items = {each["fid"]: each for each in items}
        if list(former) != list(self._items):
            self._fill(items)
            return
        for fid, now in self._items.items():
            if now != former[fid]:
                self._update(fid, facts.row(former[fid]), tuple(self._columns)[1:])

    def _fill(self, items: Sequence[Execution]) -> None:
        """Show other executions. The cursor stays on its own, or in its place."""
        table, place, fid = self._executions, self._executions.cursor_row, self._selected()
        top = table.scroll_y
        table.clear()
        for each in items:
            row = facts.row(each)
            # Only the start of a fid fits a narrow column, and is enough to name it.
            row["FID"] = row["FID"][: self._columns["FID"]]
            table.add_row(*[_cell(row[name]) for name in self._columns], key=each["fid"])
        if not items:
            self._tail.select("")
            self._show_tail("", [])
            return
        fids = list(self._items)
        table.move_cursor(row=fids.index(fid) if fid in fids else place, scroll=False)
        table.scroll_to(y=top, animate=False)

    def _update(self, fid: str, former: dict[str, str], names: Sequence[str]) -> None:
        row = facts.row(self._items[fid])
        for name in names:
            if row[name] != former.get(name):
                self._executions.update_cell(fid, name, _cell(row[name]))

    def _tick(self) -> None:
        """Bring the times of the rows that can be seen up to date."""
        table = self._executions
        first = max(int(table.scroll_y), 0)
        for fid in list(self._items)[first : first + table.size.height]:
            shown = {name: table.get_cell(fid, name).plain for name in facts.CLOCKS}
            self._update(fid, shown, facts.CLOCKS)

    def _show_tail(self, fid: str, lines: list[str]) -> None:
        if fid == (self._selected() or ""):
            tail = self.query_one("#tail", Static)
            room = max(tail.size.height, 1)
            tail.update(Text("\n".join(lines[-room:]), no_wrap=True, overflow="ellipsis"))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the last lines of the execution to which the cursor has moved."""
        fid = event.row_key.value or ""
        if fid not in self._items or event.data_table.id != "executions":
            return
        tail = self.query_one("#tail", Static)
        tail.border_title = Text(f"{fid} {self._items[fid]['flow']}").markup
        self._tail.select(fid)
        if self._has_more and event.cursor_row >= len(self._items) - 1:
            self._limit = min(self._limit + facts.PAGE, facts.MOST)
            self._feed.wake()

    def on_data_table_row_selected(self) -> None:
        """Enter, or a click on the row under the cursor."""
        self.action_follow()

    def _selected(self) -> str | None:
        table = self._executions
        if not table.row_count or not table.is_valid_row_index(table.cursor_row):
            return None
        return table.coordinate_to_cell_key((table.cursor_row, 0)).row_key.value  # type: ignore[arg-type]

    # threads

    def _watch(self) -> None:
        """Look at everything whenever there is news, until the program ends."""
        client, looked_at = self._connect(), 0.0
        listing = Listing(lambda: self._ask(client))
        has_feed = False
        while True:
            try:
                if not has_feed:
                    self._feed.start()
                    has_feed = True
                listing.refresh()
                if not listing.trouble and time.monotonic() - looked_at >= _OVERVIEW_S:
                    overview, runners = client.status(), facts.fetch_runners(client)
                    looked_at = time.monotonic()
                    self._overview = overview
                    self._usage.look(runners)
                    self._from_thread(self._show_overview)
                shown = (listing.items, listing.trouble, listing.has_more)
                self._from_thread(self._show, *shown)
                self._feed.wait(listing.patience_s)
            except (UnreachableError, UsageError) as exc:
                # It is away, or does not accept the filter: another one may be typed.
                self._from_thread(self._show, listing.items, exc.message, listing.has_more)
                time.sleep(1.0)
            except KocoError as exc:
                self.error = exc
                self._from_thread(self.exit, exc.exit_code)
                return

    def _ask(self, client: Client) -> Executions:
        return client.executions(limit=self._limit, **self._filter.query())

    def _from_thread(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self.call_from_thread(function, *args)
        except RuntimeError:
            return  # it is ending

    def _do(self, work: Callable[[Client], str]) -> None:
        """Make a request in a thread, and tell its outcome."""

        def run() -> None:
            client = self._connect()
            try:
                message, severity = work(client), "information"
            except KocoError as exc:
                message, severity = exc.message, "error"
            self._from_thread(
                lambda: self.notify(message, severity=severity, markup=False)  # type: ignore[arg-type]
            )
            self._feed.wake()

        threading.Thread(target=run, daemon=True).start()

    # keys

    def action_follow(self) -> None:
        """Show the events of the execution, with the terminal to themselves."""
        if fid := self._selected():
            self._leave_to("logs", "-f", fid)

    def action_answer(self) -> None:
        """Answer a question of the execution."""
        if fid := self._selected():
            self._leave_to("answer", fid)

    def action_cancel(self) -> None:
        """Cancel the execution, after a question."""
        if not (fid := self._selected()):
            return
        if self._items[fid]["status"] in FINAL:
            self.notify(f"{fid} has ended already", severity="warning", markup=False)
            return

        def cancel(client: Client) -> str:
            client.cancel(fid, grace_s=_GRACE_S)
            return f"{fid} is being cancelled"

        def answered(is_yes: bool | None) -> None:
            if is_yes:
                self._do(cancel)

        self.push_screen(Question(f"Cancel {fid}?"), answered)

    def action_retry(self) -> None:
        """Launch the execution again."""
        if fid := self._selected():
            key = secrets.token_hex(8)
            self._do(lambda client: f"{client.retry(fid, key=key)['fid']} does it again")

    def action_ended(self) -> None:
        """List ended executions, too, or no longer."""
        self._filter = Filter(self._filter.text, everything=not self._filter.everything)
        self._feed.wake()

    def action_filter(self) -> None:
        """Ask for a filter."""
        line = self.query_one("#filter", Input)
        line.value, line.display = self._filter.text, True
        self.set_focus(line)  # at once, because the next key may be there already

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """List what the filter selects."""
        wanted = Filter(event.value, everything=self._filter.everything)
        try:
            wanted.query()
        except KocoError as exc:
            self.notify(exc.message, severity="error", markup=False)
            return
        self._filter, self._limit = wanted, facts.PAGE
        self.action_leave_filter()
        self._feed.wake()

    def action_leave_filter(self) -> None:
        """Go back to the list."""
        self.set_focus(self._executions)
        self.query_one("#filter", Input).display = False

    def action_move(self, row: int) -> None:
        """Move the cursor to the first row, or the last."""
        self._executions.move_cursor(row=row % max(len(self._items), 1))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave the keys to a dialog, or to the filter's line, while one is there."""
        is_free = action in ("interrupt", "leave_filter") or (
            len(self.screen_stack) == 1 and not isinstance(self.focused, Input)
        )
        return is_free or not action.startswith(_KEYS)

    def action_help(self) -> None:
        """Explain keys and columns."""
        self.push_screen(Help())

    def action_interrupt(self) -> None:
        """End as other commands do after Ctrl-C."""
        self.exit(Interrupted.exit_code)

    def _leave_to(self, *command: str) -> None:
        """Run another command on the terminal, and come back."""
        with self.suspend():
            former = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command
            try:
                subprocess.run([sys.executable, "-m", "koco", *self._options, *command])  # noqa: PLW1510
                sys.stderr.write("Enter goes back to koco top ")
                sys.stderr.flush()
                sys.stdin.readline()
            finally:
                signal.signal(signal.SIGINT, former)
        self.refresh(layout=True)


def _cell(text: str) -> Text:
    return Text(text, style=_STYLES.get(text, ""), no_wrap=True, overflow="ellipsis")
