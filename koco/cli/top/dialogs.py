"""What `koco top` shows above everything else: a question, and its help."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

_HELP = """\
f, Enter  follow: the events of the execution, until it ends or Ctrl-C
c         cancel the execution; asks first
r         retry: launch an ended execution again
a         answer a question of the execution
e         list ended executions, too, or no longer
/         filter, such as: status=error flow=pages/report since=24h
          (also service=, user=, tag=; other words are searched for;
          an empty line lists all again)
↑ ↓       move; also PgUp, PgDn, Home and End. At the end of the list,
          more is fetched, up to 1,000
q         quit

DONE is the progress, CPU and MEM are what an execution has used; of a
service, they are what its runners use now. q closes this help.
"""


class Question(ModalScreen[bool]):
    """Asks for yes or no; everything but `y` is no."""

    BINDINGS = [  # noqa: RUF012 - as textual declares it
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q,enter", "answer(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Show the question."""
        yield Static(f"{self._question} [y/N]", markup=False, classes="dialog")

    def action_answer(self, is_yes: bool) -> None:
        """Close, with the answer."""
        self.dismiss(is_yes)


class Help(ModalScreen[None]):
    """Explains keys and columns."""

    BINDINGS = [Binding("escape,q,question_mark,enter", "close", "Close")]  # noqa: RUF012 - as above

    def compose(self) -> ComposeResult:
        """Show the text."""
        with VerticalScroll(classes="dialog help"):
            yield Static(_HELP, markup=False)

    def action_close(self) -> None:
        """Close it."""
        self.dismiss(None)
