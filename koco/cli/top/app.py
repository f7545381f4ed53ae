"""The screen of `koco top`.

Requests are made in threads of their own, and their outcomes are shown in textual's. Text is given
to textual as `Text`, because it would read the names of flows as markup otherwise.
"""

import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import DataTable, Footer, Input, Static

from koco.cli.top import facts
from koco.cli.top.dialogs import Help, Question
from koco.cli.top.facts import Filter, Usage
from koco.cli.top.table import STYLES, Table
from koco.cli.top.tail import Tail
from koco.cli.top.watcher import Watcher
from koco.client.answers import Execution, Executions, Overview, Runner
from koco.client.client import Client
from koco.errors import Interrupted, KocoError
from koco.events.model import FINAL

#: How often ages and durations are brought up to date (seconds).
_TICK_S = 2.0
#: How long a cancelled execution may take to end (seconds).
_GRACE_S = 5.0

#: The actions of keys of the list.
_KEYS = ("follow", "cancel", "retry", "answer", "ended", "filter", "help", "move", "step", "quit")


class Top(App[int]):
    """Services above, executions below them, and the last lines of the one under the cursor."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; text-style: bold; }
    #trouble { height: auto; max-height: 2; color: ansi_yellow; display: none; }
    #services { height: auto; max-height: 25%; background: ansi_default; }
    #services > .datatable--header { background: ansi_default; color: ansi_default;
                                     text-style: bold; }
    #services > .datatable--odd-row, #services > .datatable--even-row {
        background: ansi_default; }
    Footer, FooterKey, FooterKey .footer-key--key, FooterKey .footer-key--description {
        background: ansi_default; color: ansi_default; }
    FooterKey .footer-key--key { color: ansi_cyan; }
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
        Binding("up,k", "step(-1)", show=False),
        Binding("down,j", "step(1)", show=False),
        Binding("pageup", "step(0, -1)", show=False),
        Binding("pagedown", "step(0, 1)", show=False),
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
        self._watcher = Watcher(connect, self)
        self._tail = Tail(connect, lambda *lines: self._from_thread(self._show_tail, *lines))
        self._usage = Usage()
        self._services: list[list[str]] = []
        self._has_more = False

    # the screen

    def compose(self) -> ComposeResult:
        """Make the parts of the screen, from top to bottom."""
        yield Static("", id="head", markup=False)
        yield Static("", id="trouble", markup=False)
        services: DataTable[Text] = DataTable(id="services", show_cursor=False)
        services.can_focus = False
        yield services
        yield Table(id="executions")
        yield Static("", id="tail", markup=False)
        yield Input(id="filter", placeholder="status=error flow=NAME words", select_on_focus=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one("#services", DataTable).add_columns(*facts.SERVICES)
        self._table.focus()
        self._show_overview()
        self.set_interval(_TICK_S, self._table.tick)
        self._watcher.start()

    def on_resize(self) -> None:
        """Fit the columns to the width."""
        self._table.fit(facts.columns(self.size.width))

    @property
    def _table(self) -> Table:
        return self.query_one("#executions", Table)

    def _show_overview(self) -> None:
        self.query_one("#head", Static).update(facts.heading(self._overview), layout=False)
        services = facts.services(self._overview, self._usage)
        if services != self._services:
            self._services = services
            table = self.query_one("#services", DataTable)
            table.clear()
            for row in services:
                table.add_row(*map(_cell, row))

    def _show(self, items: list[Execution], trouble: str, has_more: bool) -> None:
        notice = self.query_one("#trouble", Static)
        if trouble or notice.display:
            notice.update(trouble)
            notice.display = bool(trouble)
        self._has_more = has_more
        self._table.show(items)

    def _show_tail(self, fid: str, lines: list[str]) -> None:
        if fid == self._fid:
            tail = self.query_one("#tail", Static)
            room = max(tail.size.height, 1)
            text = Text("\n".join(lines[-room:]), no_wrap=True, overflow="ellipsis")
            tail.update(text, layout=False)

    def on_table_moved(self) -> None:
        """Show the last lines of the execution to which the cursor has moved."""
        execution = self._table.execution
        tail = self.query_one("#tail", Static)
        about = f"{execution['fid']} {execution['flow']}" if execution else ""
        tail.border_title = Text(about).markup
        self._tail.select(self._fid)
        if not execution:
            self._show_tail("", [])
        if self._has_more and self._table.is_at_end and self._limit < facts.MOST:
            self._limit = min(self._limit + facts.PAGE, facts.MOST)
            self._watcher.wake()

    def on_table_chosen(self) -> None:
        """Follow the execution, as Enter does."""
        self.action_follow()

    @property
    def _fid(self) -> str:
        execution = self._table.execution
        return execution["fid"] if execution else ""

    # what the watcher's thread calls

    def ask(self, client: Client, *, most: int) -> Executions:
        """Fetch the executions that are to be shown, or only the first ones."""
        return client.executions(limit=min(self._limit, most), **self._filter.query())

    def saw_list(self, items: list[Execution], trouble: str, has_more: bool) -> None:
        """Show executions."""
        self._from_thread(self._show, items, trouble, has_more)

    def saw_overview(self, overview: Overview, runners: list[Runner]) -> None:
        """Show services and what runners use."""
        self._overview = overview
        self._usage.look(runners)
        self._from_thread(self._show_overview)

    def failed(self, error: KocoError) -> None:
        """End, with an error."""
        self.error = error
        self._from_thread(self.exit, error.exit_code)

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
            self._watcher.wake()

        threading.Thread(target=run, daemon=True).start()

    # keys

    def action_follow(self) -> None:
        """Show the events of the execution, with the terminal to themselves."""
        if fid := self._fid:
            self._leave_to("logs", "-f", fid)

    def action_answer(self) -> None:
        """Answer a question of the execution."""
        if fid := self._fid:
            self._leave_to("answer", fid)

    def action_cancel(self) -> None:
        """Cancel the execution, after a question."""
        execution = self._table.execution
        if execution is None:
            return
        fid = execution["fid"]
        if execution["status"] in FINAL:
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
        if fid := self._fid:
            key = secrets.token_hex(8)
            self._do(lambda client: f"{client.retry(fid, key=key)['fid']} does it again")

    def action_ended(self) -> None:
        """List ended executions, too, or no longer."""
        self._filter = Filter(self._filter.text, everything=not self._filter.everything)
        self._watcher.wake()

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
        self._watcher.wake()

    def action_leave_filter(self) -> None:
        """Go back to the list."""
        self.set_focus(self._table)
        self.query_one("#filter", Input).display = False

    def action_move(self, row: int) -> None:
        """Move the cursor to the first row, or the last."""
        self._table.move(row)

    def action_step(self, lines: int, pages: int = 0) -> None:
        """Move the cursor up or down."""
        self._table.step(lines, pages=pages)

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
    return Text(text, style=STYLES.get(text, ""), no_wrap=True, overflow="ellipsis")
