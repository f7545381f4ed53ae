"""What the comparison with peers does without any of them: ledger, losses, table, processes."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from tests.bench.peers import __main__ as command
from tests.bench.peers import measures, products, table, venvs
from tests.bench.peers.figures import Figures
from tests.bench.peers.ledger import Ledger, Losses, State, check
from tests.bench.peers.measures import Times
from tests.bench.peers.peer import Peer, Sizes
from tests.bench.peers.processes import PROGRAMS, Processes
from tests.bench.wire import AnswerError

_FAST = Times(samples=3, latency_s=1, rate_s=0.3, drain_s=2, calm_s=0.1, settle_s=2)


def _work(ledger: Path, *numbers: int) -> None:
    """Do the peers' work in another process, as they do."""
    calls = "; ".join(f"trivial_work.work({number})" for number in numbers)
    subprocess.run(
        [sys.executable, "-c", f"import trivial_work; {calls}"],
        env={**os.environ, "PYTHONPATH": str(PROGRAMS), "PEERS_LEDGER": str(ledger)},
        check=True,
    )


def test_a_ledger_counts_what_began_and_how_often(tmp_path: Path) -> None:
    """The lines that the work writes are those that the ledger reads."""
    ledger = Ledger(tmp_path / "ledger")
    assert (ledger.count(), ledger.runs()) == (0, Counter())
    _work(ledger.path, 1, 2, 1_234_567)
    _work(ledger.path, 2)
    assert ledger.count() == 4
    assert ledger.runs() == {1: 1, 2: 2, 1_234_567: 1}


def test_a_ledger_leaves_out_a_line_that_is_still_being_written(tmp_path: Path) -> None:
    """The last line counts once it is whole."""
    ledger = Ledger(tmp_path / "ledger")
    _work(ledger.path, 1)
    with ledger.path.open("ab") as file:
        file.write(b"         2     ")
    assert ledger.runs() == {1: 1}
    assert ledger.count() == 1


def test_a_ledger_names_a_line_that_is_not_its_own(tmp_path: Path) -> None:
    """What anybody else has written there would be a wrong figure."""
    ledger = Ledger(tmp_path / "ledger")
    _work(ledger.path, 1)
    with ledger.path.open("ab") as file:
        file.write(b"hello\n")
    with pytest.raises(ValueError, match=r"ledger:2: not a line of the ledger: b'hello'"):
        ledger.runs()


def test_losses_are_what_did_not_finish_whatever_the_product_says() -> None:
    """A product that says finished of what never ran has lost it, too."""
    states: dict[int, State] = {
        1: "finished",
        2: "finished",
        3: "finished",  # never ran
        4: "failed",
        5: "open",
        6: "gone",
    }
    losses = check(states, Counter({1: 1, 2: 2, 4: 1, 5: 3, 99: 2}))
    assert losses == Losses(accepted=6, finished=2, failed=1, stuck=1, gone=1, hollow=1, twice=2)
    assert losses.lost == 4


def test_launches_that_nobody_was_promised_do_not_count() -> None:
    """A launch without an answer may have run, twice even."""
    losses = check({1: "finished"}, Counter({1: 1, 2: 1, 3: 2}))
    assert (losses.accepted, losses.lost, losses.twice) == (1, 0, 0)


def _figures(title: str, **more: Any) -> Figures:
    return Figures(name=title, title=title, setup=f"{title}'s setup.", **more)


def test_the_table_numbers_footnotes_in_the_order_in_which_they_are_read() -> None:
    """The same words have one number."""
    same = {"finished": "It polls."}
    text = table.markdown(
        [
            _figures("A", accepted_ms=1.0, finished_ms=1234.5, notes=same),
            _figures("B", ready_s=2.0, finished_ms=0.126, notes=same),
        ]
    )
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows[2:]} == {len(table.COLUMNS) + 1}
    assert rows[2][:4] == [
        *("A <sup>1</sup>", "\u2013 <sup>2</sup>", "1 ms", "1,234 ms <sup>3</sup>"),
    ]
    assert rows[3][:4] == [
        *("B <sup>4</sup>", "2 s", "\u2013 <sup>2</sup>", "0.13 ms <sup>3</sup>"),
    ]
    told = text.split("\n\n")[1].splitlines()
    assert told == ["1. A's setup.", "2. Not measured.", "3. It polls.", "4. B's setup."]


def test_a_cell_without_a_figure_says_why() -> None:
    """What a product lacks, what failed in it, and what kept it from starting."""
    lacking = _figures("A", lacks={"waiting": "It has no such state."})
    failing = _figures("B", failed={"lost": "TimeoutError('not ready')"})
    missing = _figures("C", failed={"peer": "There is no redis-server."})
    text = table.plain([lacking, failing, missing])
    row_a, row_b, row_c = text.splitlines()[2:5]
    notes = text.split("\n\n")[1].splitlines()
    assert notes[2] == "[3] It has no such state."
    assert "\u2013 [3]" in row_a
    # Both that the kill would have measured.
    [number] = [note.split()[0] for note in notes if "not ready" in note]
    assert row_b.count(number) == 2
    [number] = [note.split()[0] for note in notes if "redis-server" in note]
    assert row_c.count(number) == len(table.COLUMNS)


def test_a_figure_of_losses_tells_what_became_of_them() -> None:
    """A product that tells of a loss differs from one that keeps silent."""
    losses = Losses(accepted=100, finished=90, failed=4, stuck=3, gone=2, hollow=1, twice=5)
    text = table.plain([_figures("A", losses=losses)])
    assert "10 of 100 (4 failed, 3 stuck, 2 unknown, 1 never ran)" in text
    assert "They had begun before the kill" in text


def test_a_figure_says_what_it_rests_on() -> None:
    """Few executions that waited, and launches that were refused."""
    text = table.plain([_figures("A", per_s=1.0, refused=7, waiting_mb=1.0, waited=9)])
    assert "7 launches were refused" in text
    assert "Measured with 9." in text
    text = table.plain([_figures("A", per_s=1.0, refused=0, waiting_mb=1.0, waited=99)])
    assert "refused" not in text
    assert "Measured with" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.126, "0.13"), (1.0, "1"), (12.34, "12.3"), (99.96, "100"), (1234.5, "1,234"), (0, "0")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    """More would promise too much."""
    assert table.figure(value) == text


@pytest.mark.parametrize("peer", products.every().values(), ids=lambda peer: peer.name)
def test_a_peer_is_pinned_and_its_footnotes_belong_to_columns(peer: type[Peer]) -> None:
    """Another version would be another figure, and a footnote to no column is never printed."""
    columns = {column.name for column in table.COLUMNS}
    assert {*peer.notes, *peer.lacks} <= columns
    assert all("==" in each for each in peer.requirements)
    assert bool(peer.requirements) == bool(peer.venv)
    assert peer.packages
    assert peer.setup.endswith(".")


def test_unknown_peers_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With those that there are."""
    monkeypatch.setattr(sys, "argv", ["peers", "--only", "koco,airflow"])
    with pytest.raises(SystemExit):
        command.main()
    assert "there is no peer 'airflow'; there are koco, " in capsys.readouterr().err


def test_a_venv_is_made_once_and_again_for_other_requirements(tmp_path: Path) -> None:
    """Without requirements it is this checkout's own."""
    assert venvs.python_of(tmp_path, "", ()) == Path(sys.executable)
    python = tmp_path / "x" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (tmp_path / "x" / "peers-requirements.txt").write_text("a==1\nb==2")
    assert venvs.python_of(tmp_path, "x", ("a==1", "b==2")) == python
    with pytest.raises(RuntimeError, match="pip could not install"):
        venvs.python_of(tmp_path, "x", ("--no-such-option",))


def test_processes_are_killed_even_if_they_left_their_parents(tmp_path: Path) -> None:
    """And those that overwrite their environment, as long as they stay below what was started."""
    processes = Processes(tmp_path, {})
    left = "import os, time; os.fork() or (os.setsid(), time.sleep(60))"
    blank = "import os; os.execve('/bin/sleep', ['sleep', '60'], {})"
    processes.start("left", sys.executable, "-c", left)
    processes.start("blank", sys.executable, "-c", blank)
    deadline = time.monotonic() + 10
    while len(found := processes.all()) != 2 or not any(p.name() == "sleep" for p in found):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert processes.kill() == 2
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in found)
    assert processes.all() == []


def test_no_settings_of_the_user_reach_a_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer is what its module says, not what somebody has exported."""
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere")
    monkeypatch.setenv("KOCO_URL", "http://elsewhere")
    environment = Processes(tmp_path, {"PREFECT_HOME": "here"}).environment()
    assert not [name for name, value in environment.items() if "elsewhere" in value]
    assert environment["PREFECT_HOME"] == "here"
    assert environment["HOME"] == str(tmp_path)


class _Memory(Peer):
    """A product in this process: it runs what it is given at once, and may forget it.

    It refuses some launches while it is busy.
    """

    name = "memory"
    title = "Memory"
    setup = "In this process."
    sizes = Sizes(window=5, kill=20, waiting=4, quiet_s=0.3)
    forgets: ClassVar[bool] = False

    def __init__(self, root: Path, python: Path) -> None:
        super().__init__(root, python)
        self.known: dict[str, State] = {}
        self.calls = 0
        self.is_up = False

    def start(self) -> None:
        self.is_up = True

    def connect(self) -> "_Memory":
        return self

    def launch(self, number: int, _seconds: float = 0.0) -> str:
        from tests.bench.peers.programs.trivial_work import began

        if not self.is_up:
            raise ConnectionRefusedError
        is_busy = threading.current_thread() is not threading.main_thread()
        self.calls += 1
        if is_busy and self.calls % 7 == 0:
            raise AnswerError("busy", 503)
        self.known[str(number)] = "finished"
        began(number)
        return str(number)

    launch_waiting = launch

    def wait(self, ident: str) -> None:
        assert ident in self.known

    def state(self, ident: str) -> State:
        return self.known.get(ident, "gone")

    def close(self) -> None:
        pass

    def kill(self) -> None:
        self.is_up = False
        time.sleep(0.05)  # launches that are on their way
        if self.forgets:
            self.known.clear()


class _Forgetful(_Memory):
    forgets = True


@pytest.mark.parametrize(("kind", "forgets"), [(_Memory, False), (_Forgetful, True)])
def test_what_a_kill_loses_is_found(
    kind: type[Peer], forgets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole measure, with a product that keeps everything and with one that forgets."""
    figures = _figures("M")
    peer = kind(tmp_path, Path(sys.executable))
    monkeypatch.setenv("PEERS_LEDGER", str(peer.ledger.path))
    measures.measure(peer, figures, _FAST)
    assert figures.failed == {}
    assert figures.losses is not None
    assert figures.losses.accepted >= 10
    assert figures.losses.gone == (figures.losses.accepted if forgets else 0)
    assert figures.losses.twice == 0
    assert figures.refused > 0
    assert figures.per_s is not None and figures.per_s > 0
    assert figures.samples == 3
