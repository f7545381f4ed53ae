"""Hostile authors: whatever a flow does, it harms only its own execution.

One service has a flow for each kind of misbehaviour (`hostile.py`). After each of them three
things must hold: the execution has settled with a cause, the next ordinary execution of the
same service finishes, and nothing is left over: no process, no CPU, no Ray task.
"""

import ast
import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from koco.bootstrap.local_head import mark_of
from tests.integration import hostile
from tests.support.driver import Koco, eventually, koco_of_its_own

SOURCE = Path(hostile.__file__)

#: How long an execution may take to settle once it has ended, or its cancellation's grace has.
SETTLED_S = 15.0
#: How long a flow may take to do what it does, or to be seen running.
DOING_S = 40.0
#: How long what an execution leaves behind may stay.
LEFT_S = 15.0


@dataclass(frozen=True)
class Case:
    """What is expected of a flow: its final status, and what its error or result says."""

    flow: str
    status: str
    says: str = ""
    #: It would never end: it is cancelled, with a grace of a second.
    is_cancelled: bool = False


def ends(flow: str, status: str, says: str = "") -> Case:
    return Case(flow, status, says)


def cancelled(flow: str) -> Case:
    return Case(flow, "cancelled", is_cancelled=True)


CASES = [
    # it ends its process
    ends("exits_at_once", "error", "exit code 7"),
    ends("exits_in_c", "error"),
    ends("exits_from_a_thread", "error", "exit code 9"),
    ends("terminates_itself", "error", "SIGTERM"),
    ends("kills_itself", "error", "SIGKILL"),
    ends("hangs_up", "error", "SIGHUP"),
    ends("is_woken_by_an_alarm", "error", "SIGALRM"),
    ends("reads_address_zero", "error", "SIGSEGV"),
    ends("aborts", "error", "SIGABRT"),
    ends("becomes_another_program", "error"),
    ends("overflows_the_stack", "error", "SIGSEGV|RecursionError|memory"),
    ends("kills_its_group", "error", "SIGTERM"),
    # it stays, and does not work any more
    ends("stops_its_process", "error", "stopped"),
    ends("leaves_ray", "finished|error"),
    ends("leaves_its_actor", "error"),
    ends("closes_all_descriptors", "finished|error"),
    cancelled("waits_for_itself"),
    cancelled("spins"),
    cancelled("ignores_everything"),
    ends("keeps_the_interpreter_for_a_while", "finished", "slept"),
    cancelled("keeps_the_interpreter"),
    cancelled("backtracks"),
    cancelled("blocks_its_loop"),
    cancelled("swallows_its_cancellation"),
    ends("stops_its_loop", "finished|error"),
    ends("cancels_all_tasks", "error"),
    ends("cancels_what_gc_finds", "error", "exit code 70"),
    ends("closes_its_selector", "error", "exit code 70"),
    ends("has_an_async_subprocess", "finished", "0"),
    cancelled("waits_for_a_subprocess"),
    # it raises
    ends("exits_politely", "error", "SystemExit"),
    ends("interrupts", "error", "KeyboardInterrupt"),
    ends("raises_what_is_no_exception", "error", "not an Exception"),
    ends("says_it_is_cancelled", "error", "CancelledError"),
    ends("raises_stop_iteration", "error", "StopIteration"),
    ends("raises_without_words", "error", "Unspeakable"),
    ends("raises_with_many_words", "error", "ValueError"),
    ends("recurses", "error", "RecursionError"),
    ends("raises_a_group", "error", "several"),
    ends("raises_at_the_end", "error", "at the end"),
    # it leaves something behind
    ends("leaves_a_thread", "finished", "left"),
    ends("leaves_a_printing_thread", "finished", "left"),
    ends("leaves_many_threads", "finished", "left"),
    ends("leaves_an_exit_handler", "finished", "left"),
    ends("leaves_a_fork", "finished", "left"),
    ends("leaves_tasks", "finished", "left"),
    cancelled("waits_for_tasks"),
    cancelled("waits_for_nested_tasks"),
    cancelled("waits_for_an_actor"),
    ends("has_a_task_that_exits", "error", "exit code 11"),
    cancelled("waits_for_a_stopped_task"),
    # it changes what all share
    ends("closes_its_output", "finished", "closed"),
    ends("has_no_output", "finished", "none"),
    ends("clears_its_environment", "finished", "cleared"),
    ends("goes_where_nothing_is", "finished", "gone"),
    ends("stops_the_clocks", "finished", "stopped"),
    ends("replaces_builtins", "finished|error"),
    ends("turns_warnings_into_errors", "finished", "strict"),
    ends("allows_little_depth", "finished|error"),
    ends("allows_no_files", "finished|error"),
    ends("never_switches", "finished", "switched"),
    ends("forgets_its_modules", "finished|error"),
    # it says too much, or what nobody understands
    cancelled("prints_without_end"),
    ends("prints_garbage", "finished", "printed"),
    ends("prints_one_long_line", "finished", "printed"),
    ends("returns_a_mock", "finished", "Mock"),
    ends("returns_itself", "finished"),
    ends("returns_the_depths", "finished"),
    ends("returns_what_cannot_be_shown", "finished", "Unspeakable"),
    cancelled("returns_what_is_shown_for_ever"),
    ends("returns_a_lock", "finished", "lock"),
    ends("returns_a_huge_number", "finished"),
    ends("returns_too_much", "finished"),
    cancelled("yields_without_end"),
    cancelled("emits_without_end"),
]


@pytest.fixture(scope="module")
def app() -> Iterator[Koco]:
    """A koco of these tests' own: what they leave behind is theirs."""
    with koco_of_its_own() as koco:
        yield koco.up().deploy("hostile", SOURCE.read_text(), runner={"min": 1, "max": 1})


def test_every_flow_is_tried() -> None:
    """A kind of misbehaviour that is in the file is in the table."""
    tree = ast.parse(SOURCE.read_text())
    functions = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
    }
    assert functions == {case.flow for case in CASES} | {"ordinary"}
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.flow)
def test_a_hostile_flow_harms_only_itself(app: Koco, case: Case) -> None:
    """It settles with a cause, the next execution finishes, and nothing is left over."""
    try:
        _settles(app, case)
        _goes_on(app)
        _leaves_nothing(app, case)
    finally:
        _cancel_all(app)


def _settles(app: Koco, case: Case) -> None:
    fid = app.launch(case.flow.replace("_", "-"))
    if case.is_cancelled:
        eventually(lambda: app.get(f"/v1/executions/{fid}")["status"] == "running")
        time.sleep(0.5)
        with app.http() as client:
            client.post(f"/v1/executions/{fid}/cancel", json={"grace_s": 1}).raise_for_status()
    within_s = SETTLED_S if case.is_cancelled else DOING_S + SETTLED_S
    ended = eventually(lambda: _final(app, fid), within_s=within_s)
    said = str(ended["error"] or _result(app, fid))[:100_000]
    assert re.fullmatch(case.status, ended["status"]), (ended["status"], said)
    if ended["status"] == "error":
        assert ended["error"]["message"] or ended["error"]["type"], "it has a cause"
    last = app.get_events(fid, tail=1)[-1]
    assert last["payload"] == {"status": ended["status"]}, "its stream ends with its status"
    assert re.search(case.says, said), said
    if (
        "before the end"
        in SOURCE.read_text().partition(f"def {case.flow}(")[2].partition("def ")[0]
    ):
        printed = [e["payload"] for e in app.get_events(fid) if e["kind"] == "stdout"]
        assert "before the end" in printed, "what it wrote before its end is in its stream"


def _cancel_all(app: Koco) -> None:
    """End what a case that failed has left running: it must not fail the ones after it."""
    for execution in app.get("/v1/executions", service="hostile", active="true")["items"]:
        with app.http() as client:
            client.post(f"/v1/executions/{execution['fid']}/cancel", json={"grace_s": 0})
        with contextlib.suppress(AssertionError):
            eventually(lambda fid=execution["fid"]: _final(app, fid), within_s=5)


def _goes_on(app: Koco) -> None:
    fid = app.launch("ordinary", number=2)
    ended = eventually(lambda: _final(app, fid), within_s=DOING_S)
    assert (ended["status"], _result(app, fid)) == ("finished", 3), ended["error"]


def _leaves_nothing(app: Koco, case: Case) -> None:
    last: list[str] = []

    def is_clean() -> bool:
        last[:] = _left(app)
        return not last

    try:
        eventually(is_clean, within_s=LEFT_S)
    except AssertionError:
        raise AssertionError(f"{case.flow} left something over: {last}") from None


def _final(app: Koco, fid: str) -> dict[str, Any] | None:
    execution: dict[str, Any] = app.get(f"/v1/executions/{fid}")
    return execution if execution["finished"] else None


def _result(app: Koco, fid: str) -> Any:
    with app.http() as client:
        events = client.get(f"/v1/executions/{fid}/events", params={"kind": "final"}).text
    return json.loads(events.splitlines()[-1])["payload"] if events.strip() else None


def _left(app: Koco) -> list[str]:
    """Say what is there beyond the runners that the status tells of."""
    status = app.get("/v1/status")
    found = [
        f"{node['resources']['CPU'] - node['free'].get('CPU', 0):g} CPUs are held"
        for node in status["ray"]["nodes"]
        if node["alive"] and node["resources"]["CPU"] != node["free"].get("CPU", 0)
    ]
    executions = {key: count for key, count in status["executions"].items() if count}
    found += [f"{count} {key}" for key, count in executions.items() if key in _OPEN]
    [service] = [each for each in status["services"] if each["name"] == "hostile"]
    titles = _titles(app)
    runners = [title for title in titles if title.startswith("ray::Runner")]
    if len(runners) != service["runners"]:
        found.append(f"{len(runners)} runner processes of {service['runners']}")
    return found + [title for title in titles if title not in runners and not _is_ours(title)]


def _is_ours(title: str) -> bool:
    """Tell whether it is a worker that Ray keeps, or the node's keeper of what runners write."""
    return title == "ray::IDLE" or "koco/runner/output/pipe_keeper.py" in title


_OPEN = ("queued", "starting", "running", "awaiting")


def _titles(app: Koco) -> list[str]:
    """Return the titles of all processes that run the service's code, and of what they left."""
    mark = mark_of(app.home)
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            env = process.environ()
        except (psutil.Error, OSError):
            continue
        if not line or process.status() == psutil.STATUS_ZOMBIE:
            continue
        is_ours = env.get("KOCO_CLUSTER") == mark
        if is_ours and (env.get("KOCO_SERVICE") == "hostile" or line[-1] == str(hostile.FOR_EVER)):
            found.append(line[0].split("(")[0] if line[0].startswith("ray::") else " ".join(line))
    return found
