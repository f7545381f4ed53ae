"""`koco inbox`, `koco answer`, and other commands while an execution waits for a person."""

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.driver import eventually
from tests.support.memory_plane import LATER, TS, Plane
from tests.support.typist import Typist
from tests.unit.conftest import Cli

FORM = [
    {"type": "markdown", "text": "Is this **fine**?"},
    {"type": "boolean", "name": "ok", "label": "Fine"},
    {"type": "number", "name": "stars", "label": "Stars", "required": True, "max_value": 5},
    {"type": "submit", "text": "Send"},
]
BOUND = {"ok": True, "stars": 4}


@pytest.fixture
def fid(plane: Plane) -> str:
    return plane.launch(("status", {"status": "running"}))


def koco(*args: str, stdout: Path | None = None) -> Typist:
    return Typist(["-m", "koco", *args], stdout=stdout)


def test_a_lock_of_a_kodosumi_flow_gets_what_a_browser_sends(
    plane: Plane, cli: Cli, fid: str
) -> None:
    """The values that its form shows at first, unless they are given; others get what is given."""
    text = {"type": "text", "name": "comments"}
    form = [text, {"type": "select", "name": "size", "option": ["s", "m"]}]
    other = plane.lock(fid, "other", form=form)
    lid = plane.lock(fid, "review", form=form)
    plane.locks[lid]["dialect"] = "kodosumi"
    assert cli("answer", fid, "other", "-i", "size=m").code == 0
    assert plane.requests[-1][2] == {"size": "m"} and other
    plane.locks[lid]["form"][0]["required"] = True
    ran = cli("answer", fid, "review", "-i", "size=m")
    assert (ran.code, "comments: is required" in ran.err) == (2, True)
    plane.locks[lid]["form"][0]["required"] = False
    assert cli("answer", fid, "review", "-i", "size=m").code == 0
    assert plane.requests[-1][2] == {"comments": "", "size": "m"}


def test_inbox_lists_open_locks_oldest_first(plane: Plane, cli: Cli, fid: str) -> None:
    """In a pipe: a header, tabs, and nothing on stderr; answered locks are not listed."""
    plane.lock(fid, "first")
    lid = plane.lock(plane.launch(flow="hello/other"), "second")
    ran = cli("inbox")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "fid\tname\tlid\tflow\tcreated\texpires",
        f"{fid}\tfirst\tlid0\thello/greet\t{TS}\t{LATER}",
        f"fid0000000000001\tsecond\t{lid}\thello/other\t{TS}\t{LATER}",
    ]
    assert [item["name"] for item in json.loads(cli("inbox", "--json").out)["items"]] == [
        "first",
        "second",
    ]
    plane.answer(lid, 1)
    assert "second" not in cli("inbox").out
    assert cli("inbox", "--flow", "hello/other").out.count("\n") == 1


def test_inbox_fits_80_columns_and_shows_how_to_answer(
    plane: Plane, terminal: Cli, fid: str
) -> None:
    """The fid is not shortened, because users type it next."""
    assert terminal("inbox").out == "no lock waits for an answer\n"
    plane.executions[fid]["flow"] = f"service/{'very-' * 10}long"
    plane.lock(fid, "a-lock-of-twenty-char")
    lines = re.sub(r"\x1b\[\d*m", "", terminal("inbox").out).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["FID", "LOCK", "FLOW", "WAITING", "EXPIRES", "IN"]
    assert lines[1].split()[:2] == [fid, "a-lock-of-twenty-char"]
    assert lines[-1].startswith("`koco answer FID` answers")


def test_inbox_notes_that_there_are_more(plane: Plane, cli: Cli, fid: str) -> None:
    """As `koco ps` does."""
    for _ in range(3):
        plane.lock(fid)
    ran = cli("inbox", "--limit", "2")
    assert ran.out.count("\n") == 3
    assert ran.err == "there are more; `--limit` above 2 shows them\n"


def test_answering_with_inputs(plane: Plane, cli: Cli, fid: str) -> None:
    """The server converts the values of `-i`; one line has the outcome."""
    lid = plane.lock(fid, form=FORM)
    ran = cli("answer", fid[:5], "-i", "ok=yes", "-i", "stars=4")
    assert (ran.code, ran.out, ran.err) == (0, f"{fid}\tapproval\tanswered\n", "")
    assert plane.locks[lid]["answer"] == BOUND
    other = plane.lock(fid, form=FORM)
    ran = cli("answer", fid, "approval", "--inputs", "-", "--json", stdin="ok: no\nstars: 1\n")
    assert json.loads(ran.out)["answer"] == {"ok": False, "stars": 1}
    assert json.loads(ran.out)["lid"] == other


@pytest.mark.parametrize("text", ["null", "false", "0", '""', "{}", "[1]", "yes please"])
def test_a_lock_without_a_form_accepts_any_value_from_a_file(
    plane: Plane, cli: Cli, fid: str, text: str
) -> None:
    """JSON or YAML, falsy ones, too; `-i` makes an object."""
    lid = plane.lock(fid)
    assert cli("answer", fid, "--inputs", "-", stdin=text).code == 0
    assert plane.locks[lid]["answer"] == (text if "yes" in text else json.loads(text))
    lid = plane.lock(fid)
    assert cli("answer", fid, "-i", "a=b").code == 0
    assert plane.locks[lid]["answer"] == {"a": "b"}


def test_a_refused_answer_leaves_the_lock_open(plane: Plane, cli: Cli, fid: str) -> None:
    """Every message by field, exit code 2; with --json the API's own form."""
    lid = plane.lock(fid, form=FORM)
    ran = cli("answer", fid, "-i", "stars=9")
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == "hint: the lock stays open"
    assert ran.err.startswith("error: stars: ")
    assert plane.locks[lid]["status"] == "open"
    wire = json.loads(cli("answer", fid, "-i", "stars=9", "--json").err)
    assert list(wire["errors"]) == ["stars"]
    assert cli("answer", fid, "--no-input").code == 2


def test_without_a_lock_it_must_be_clear_which(plane: Plane, cli: Cli, fid: str) -> None:
    """If none or several are open, the error lists them."""
    ran = cli("answer", fid, "-i", "a=b")
    assert (ran.code, ran.err.splitlines()[0]) == (
        2,
        f"error: {fid} does not wait for an answer: it is running",
    )
    plane.lock(fid, "one")
    for _ in range(2):
        plane.lock(fid, "two")
    ran = cli("answer", fid, "-i", "a=b")
    assert ran.err.splitlines() == [
        f"error: {fid} waits for several answers: one, lid1 (two), lid2 (two)",
        f"hint: choose one: `koco answer {fid} one`",
    ]
    assert cli("answer", fid, "three", "-i", "a=b").code == 4
    assert cli("answer", fid, "lid2", "-i", "a=b").code == 0


def test_a_lock_without_a_form_needs_an_answer(plane: Plane, cli: Cli, fid: str) -> None:
    """Without a terminal nobody can be asked."""
    lid = plane.lock(fid)
    ran = cli("answer", fid)
    assert (ran.code, plane.locks[lid]["status"]) == (2, "open")
    assert "takes any JSON value" in ran.err


def test_a_late_answer_reports_who_was_first(plane: Plane, cli: Cli, fid: str) -> None:
    """Exit code 2, as for any conflict."""
    plane.answer(plane.lock(fid), 1, by="bob")
    ran = cli("answer", fid, "approval")
    assert ran.code == 2
    assert f"was answered by bob at {TS}" in ran.err


def test_a_terminal_shows_the_form_and_asks_for_it(plane: Plane, fid: str, tmp_path: Path) -> None:
    """The question comes first; refused values are asked for again."""
    lid = plane.lock(fid, data={"page": 1}, form=FORM)
    with koco("answer", fid, stdout=tmp_path / "out") as typist:
        typist.sees("approval of hello/greet waits for an answer")
        typist.sees('"page": 1')
        typist.types("y\n")
        typist.types("9\n")
        typist.sees("at most 5")
        typist.types("4\n")
        assert typist.leaves() == 0
    assert plane.locks[lid]["answer"] == BOUND
    assert (tmp_path / "out").read_text() == f"{fid}\tapproval\tanswered\n"


def test_at_a_terminal_any_json_is_typed(plane: Plane, fid: str) -> None:
    """An extra Enter is not an answer; text that is not JSON stays text; Ctrl-D leaves."""
    lid = plane.lock(fid)
    with koco("answer", fid) as typist:
        typist.types("\x04")
        assert typist.leaves() == 130
    for typed, answer in (
        ('{"ok": true}', {"ok": True}),
        ("null", None),
        ("fine by me", "fine by me"),
    ):
        with koco("answer", fid, lid) as typist:
            typist.types("\n")
            typist.types(f"{typed}\n")
            assert typist.leaves() == 0, typist.seen
        assert plane.locks[lid]["answer"] == answer
        lid = plane.lock(fid)


class Script:
    """An execution that asks once it is launched, and ends once it is answered."""

    def __init__(self, plane: Plane, **asked: Any) -> None:
        self.plane = plane
        self.asked = asked
        self.lids: list[str] = []
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def _play(self) -> None:
        plane = self.plane
        plane.wait_for("events")
        self.fid = list(plane.executions)[-1]
        self.lids.append(plane.lock(self.fid, "first", {"page": 1}, form=FORM))
        self.lids.append(plane.lock(self.fid, "second"))
        deadline = time.monotonic() + 60
        while plane.executions[self.fid]["status"] == "awaiting" and time.monotonic() < deadline:
            time.sleep(0.01)
        plane.emit(self.fid, "final", "done")
        plane.end(self.fid, "finished")

    def settle(self) -> None:
        """Answer what was asked, once all is."""
        while len(self.lids) < 2:
            time.sleep(0.01)
        for lid, value in zip(self.lids, (BOUND, 7), strict=True):
            self.plane.answer(lid, value, by="bob")


@pytest.fixture
def script(plane: Plane) -> Iterator[Script]:
    plane.script = [("status", {"status": "running"})]
    script = Script(plane)
    yield script
    script.thread.join(20)


def test_following_at_a_terminal_offers_to_answer(plane: Plane, script: Script) -> None:
    """One after another; then following continues to the end."""
    with koco("run", "greet", "-i", "who=Ada", "-f") as typist:
        typist.sees('"page": 1')
        typist.sees("Answer first now?")
        typist.types("y\n")
        typist.sees("fine")
        typist.types("yes\n")
        typist.types("4\n")
        typist.sees("Answer second now?")
        typist.types("\n")
        typist.types("null\n")
        typist.sees("lease: second answered by admin: null")
        typist.sees("done")
        assert typist.leaves() == 0, typist.seen
    assert [plane.locks[lid]["answer"] for lid in script.lids] == [BOUND, None]


def test_shows_the_question_at_the_terminal_if_stdout_is_a_file(
    plane: Plane, script: Script, tmp_path: Path
) -> None:
    """The offer is on the terminal, the stream in the file."""
    with koco("run", "greet", "-i", "who=Ada", "-f", stdout=tmp_path / "out") as typist:
        typist.types("y\n")
        typist.sees("first of hello/greet waits for an answer")
        typist.sees('"page": 1')
        typist.types("\x03")
        assert typist.leaves() == 130
    assert (tmp_path / "out").read_text().startswith("lock: first waits for an answer")
    script.settle()


def test_a_time_limit_counts_while_somebody_types(plane: Plane, script: Script) -> None:
    """It ends the offer, too; the execution goes on."""
    with koco("run", "greet", "-i", "who=Ada", "-f", "--timeout", "0.5") as typist:
        typist.sees("has not ended within 0.5 s; it goes on")
        assert typist.leaves() == 124
    script.settle()


def test_declining_goes_on_following(plane: Plane, script: Script) -> None:
    """Each is offered once; somebody else's answers are shown as they come."""
    with koco("run", "greet", "-i", "who=Ada", "-f") as typist:
        typist.sees("Answer first now?")
        typist.types("no\n")
        typist.sees("not answered")
        typist.sees("Answer second now?")
        typist.types("\x04")
        typist.sees("not answered")
        script.settle()
        typist.sees("lease: second answered by bob: 7")
        assert typist.leaves() == 0
    assert typist.seen.count("Answer first now?") == 1


def test_reports_that_somebody_else_was_faster(plane: Plane, script: Script) -> None:
    """It is reported and not an error: the execution goes on."""
    with koco("run", "greet", "-i", "who=Ada", "-f") as typist:
        typist.sees("Answer first now?")
        typist.types("yes\n")
        typist.sees("fine")
        script.settle()
        typist.types("yes\n")
        typist.types("4\n")
        typist.sees("was answered by bob at")
        typist.sees("done")
        assert typist.leaves() == 0


def test_somebody_else_may_answer_before_the_offer_is_taken(plane: Plane, script: Script) -> None:
    """Nothing is asked again."""
    with koco("run", "greet", "-i", "who=Ada", "-f") as typist:
        typist.sees("Answer first now?")
        script.settle()
        typist.types("yes\n")
        typist.sees("first was answered by bob at ")
        typist.sees("; the execution goes on")
        typist.sees("done")
        assert typist.leaves() == 0
    assert "fine" not in typist.seen


def test_a_lease_that_fails_does_not_end_the_following(plane: Plane, script: Script) -> None:
    """It is reported, with the command to answer later; the exit code is the execution's."""
    plane.failing.add("second")
    with koco("run", "greet", "-i", "who=Ada", "-f") as typist:
        typist.sees("Answer first now?")
        typist.types("no\n")
        typist.sees("Answer second now?")
        typist.types("yes\n")
        typist.types("7\n")
        typist.sees("error: the lease of 'second' raised RuntimeError")
        typist.sees(f"not answered; `koco answer {script.fid}")
        plane.failing.clear()
        script.settle()
        typist.sees("done")
        assert typist.leaves() == 0


def test_ctrl_c_at_an_offer_leaves_the_execution_running(plane: Plane, script: Script) -> None:
    """And says how to come back."""
    with koco("run", "greet", "-i", "who=Ada", "-f") as typist:
        typist.types("\x03")
        typist.sees(f"{script.fid} goes on; `koco logs -f {script.fid}` follows it again")
        assert typist.leaves() == 130
    script.settle()


def test_no_input_follows_without_an_offer(plane: Plane, script: Script) -> None:
    """The question is shown, with the command to answer it."""
    with koco("run", "greet", "-i", "who=Ada", "-f", "--no-input") as typist:
        typist.sees(f"lock: first waits for an answer until {LATER[:10]} ")
        typist.sees(f"koco answer {script.fid} second")
        script.settle()
        assert typist.leaves() == 0
    assert "Answer" not in typist.seen


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_waiting_without_input_gives_up_when_a_person_is_awaited(
    plane: Plane, cli: Cli, fid: str, when: str
) -> None:
    """Exit code 8, at once, with the command that answers; also among several."""
    plane.answer(plane.lock(fid, "past"), 1)  # what has been answered is no reason
    other = plane.launch(("status", {"status": "running"}))
    timer = threading.Timer(0 if when == "before" else 0.2, plane.lock, (fid, "now"))
    timer.start()
    for fids in ([fid], [other, fid]):
        ran = cli("wait", *fids, "--no-input", "--timeout", "10")
        assert (ran.code, ran.out) == (8, "")
        assert ran.err.splitlines() == [
            f"error: {fid} waits for an answer: now",
            f"hint: `koco answer {fid} now`",
        ]


def test_wait_notes_the_lock_that_needs_an_answer(plane: Plane, cli: Cli, fid: str) -> None:
    """Once, on stderr; then it waits until the end."""
    lid = plane.lock(fid)

    def settle() -> None:
        eventually(lambda: any("/locks" in path for _, path, *_ in plane.requests))
        plane.answer(lid, 1)
        plane.end(fid, "finished")

    threading.Thread(target=settle).start()
    ran = cli("wait", fid)
    assert (ran.code, ran.out) == (0, f"{fid}\tfinished\n")
    assert ran.err == f"{fid} waits for an answer: `koco answer {fid} approval`\n"


def test_run_and_wait_without_input_gives_up_too(plane: Plane, cli: Cli, script: Script) -> None:
    """The fid is on stdout, because the execution goes on."""
    ran = cli("run", "greet", "-i", "who=Ada", "--wait", "--no-input")
    assert (ran.code, ran.out) == (8, f"{script.fid}\n")
    assert ran.err.startswith(f"error: {script.fid} waits for an answer: first")
    script.settle()


def test_several_executions_end_in_the_order_given(plane: Plane, cli: Cli, fid: str) -> None:
    """As without --no-input, and with the worst outcome."""
    other = plane.launch(("status", {"status": "cancelled"}))
    threading.Timer(0.1, plane.end, (fid, "finished")).start()
    ran = cli("wait", fid, other, "--no-input")
    assert (ran.code, ran.out) == (7, f"{fid}\tfinished\n{other}\tcancelled\n")


def test_show_lists_open_locks(plane: Plane, cli: Cli, fid: str) -> None:
    """With the question and its expiry."""
    plane.answer(plane.lock(fid, "past"), 1)
    plane.lock(fid, "now", {"page": 1})
    assert f'awaits    now (until {LATER}) {{"page": 1}}\n' in cli("show", fid).out
    assert "past" not in cli("show", fid).out
