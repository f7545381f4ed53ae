"""`koco retry` and `koco resume` of many, until the new executions have ended."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from koco.cli.many import following
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli

ERROR = {"type": "X", "message": "x"}
FAILED = [("error", ERROR), ("status", {"status": "error"})]
FINISHED = [("stdout", "again"), ("final", 1), ("status", {"status": "finished"})]


@pytest.fixture(autouse=True)
def _failed(plane: Plane) -> None:
    """Let two executions have failed, and each new one finish."""
    for fid in ("ee11", "ee22"):
        plane.launch(*FAILED, fid=fid)
    plane.script = FINISHED


def end_new_ones(plane: Plane, *statuses: str) -> threading.Thread:
    """Leave new executions running, and end them by and by: the n-th one with the n-th status."""
    plane.script, known = [], len(plane.executions)

    def work() -> None:
        until = time.monotonic() + 60
        while len(plane.executions) < known + len(statuses) and time.monotonic() < until:
            time.sleep(0.01)
        for fid, status in zip([*plane.executions][known:], statuses, strict=True):
            time.sleep(0.05)
            plane.end(fid, status)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_waits_for_all(plane: Plane, cli: Cli) -> None:
    """The new fids first, then each with its status once it has ended; the worst is the code."""
    thread = end_new_ones(plane, "finished", "cancelled")
    ran = cli("retry", "ee11", "ee22", "--wait")
    thread.join()
    one, two = [*plane.executions][2:]
    assert ran.code == 7
    assert ran.out == f"ee11\t{one}\nee22\t{two}\n{one}\tfinished\n{two}\tcancelled\n"


def test_waits_for_those_of_a_filter(plane: Plane, cli: Cli) -> None:
    """With JSON, a line for each launch and one for each result."""
    ran = cli("resume", "--status", "error", "--yes", "--wait", "--json")
    told = [json.loads(text) for text in ran.out.splitlines()]
    launched = {each["fid"]: each["new"] for each in told if "new" in each}
    assert [*launched] == ["ee22", "ee11"]
    ended = [each for each in told if "status" in each]
    assert {each["fid"] for each in ended} == {*launched.values()}
    assert [(each["status"], each["result"]) for each in ended] == [("finished", 1)] * 2
    assert (ran.code, ran.err) == (0, "")
    ran = cli("resume", "--status", "error", "--yes", "--wait")
    assert (ran.code, ran.out, "nothing was resumed" in ran.err) == (0, "", True)


def test_shows_the_events_of_all(plane: Plane, cli: Cli) -> None:
    """As `koco logs` of many does; the new fids are on stderr."""
    ran = cli("retry", "ee11", "ee22", "--follow")
    one, two = [*plane.executions][2:]
    assert ran.code == 0
    starts = [f"hello/greet {fid[:6]} │ " for fid in (one, two)]
    assert ran.out == "".join(f"{start}again\n{start}1\n" for start in starts)
    assert ran.err == f"ee11\t{one}\nee22\t{two}\n"
    plane.script = FAILED
    ran = cli("retry", "ee11", "ee22", "--again", "--follow", "--json")
    events = [json.loads(text) for text in ran.out.splitlines()]
    assert (ran.code, {each["fid"] for each in events}) == (1, {*[*plane.executions][4:]})


def test_a_refusal_counts_if_all_others_finish(plane: Plane, cli: Cli) -> None:
    """It is told on stderr; none is left to follow if all are refused."""
    plane.launch(fid="aaaa")  # it runs
    ran = cli("retry", "ee11", "aaaa", "--follow")
    assert (ran.code, "aaaa skipped: execution aaaa is running" in ran.err) == (2, True)
    assert "│ again" in ran.out
    ran = cli("retry", "aaaa", "aaaa", "ee11", "--wait")
    assert (ran.code, ran.out) == (2, "") and "nothing was retried" in ran.err


def test_very_many_are_followed_in_groups(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The addresses of their streams would be too long otherwise."""
    monkeypatch.setattr(following, "_AT_ONCE", 1)
    ran = cli("retry", "ee11", "ee22", "--wait")
    assert (ran.code, ran.out.count("\tfinished\n")) == (0, 2)
    assert sum(path.startswith("/v1/events?") for _, path, _ in plane.requests) == 2


def test_tells_when_a_person_is_needed(plane: Plane, cli: Cli) -> None:
    """On stderr, with the command that answers."""
    thread = end_new_ones(plane, "finished", "finished")
    new = threading.Thread(target=_ask, args=(plane,))
    new.start()
    ran = cli("retry", "ee11", "ee22", "--wait")
    for each in (thread, new):
        each.join()
    fid = [*plane.executions][2]
    assert (ran.code, f"{fid} waits for an answer: `koco answer {fid} approve`" in ran.err) == (
        0,
        True,
    )


def _ask(plane: Plane) -> None:
    until = time.monotonic() + 60
    while len(plane.executions) < 3 and time.monotonic() < until:
        time.sleep(0.002)
    fid = [*plane.executions][2]
    plane.lock(fid, "approve")


def test_stops_waiting_in_time(plane: Plane, cli: Cli) -> None:
    """With 124, and without a word about those that have ended."""
    plane.script = []
    ran = cli("retry", "ee11", "ee22", "--wait", "--timeout", "0.3")
    assert (ran.code, "2 executions not ended within 0.3 s" in ran.err) == (124, True)
    ran = cli("retry", "ee11", "ee22", "--again", "--follow", "--timeout", "0.3")
    assert ran.code == 124
    assert cli("retry", "ee11", "ee22", "--timeout", "3").code == 2


@pytest.mark.parametrize("option", ["--wait", "--follow"])
def test_ctrl_c_leaves_them_running(plane: Plane, option: str) -> None:
    """The command ends with 130, and says so."""
    plane.script = []
    process = subprocess.Popen(
        [sys.executable, "-m", "koco", "retry", "ee11", "ee22", option],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while len(plane.executions) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (130, "the executions go on")
