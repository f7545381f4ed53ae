"""`koco wait --any` and `--until`, against the real API."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from tests.support.api_server import Api, serving
from tests.support.written import Written
from tests.unit.conftest import Cli, Use


@pytest.fixture
def api(tmp_path: Path, use: Use) -> Iterator[Api]:
    with serving(tmp_path / "data") as api:
        use(api.url, "ada")
        yield api


def become(flow: Written, status: str) -> None:
    """Have an execution report a status that is not final."""
    assert flow.api.call(flow.api.parts.store.executions.assign(flow.fid, "r"))
    batch = Batch(flow.fid, "r", 1, 1, line.encode(Kind.STDOUT, "x"), status=Status(status))
    flow.api.call(flow.api.parts.store.events.append([batch]))
    flow.api.loop.call_soon_threadsafe(flow.api.parts.spooler.wake, flow.fid)


def waiting(*args: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "koco", "wait", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.8)
    assert process.poll() is None
    return process


def test_any_ends_with_the_first_one(api: Api, cli: Cli) -> None:
    """Its outcome is the exit code; one that has ended already counts."""
    one, two = Written(api), Written(api)
    process = waiting("--any", one.fid, two.fid)
    two.write("x", ends=True)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, f"{two.fid}\tfinished\n")
    ran = cli("wait", one.fid, two.fid, "--any")
    assert (ran.code, ran.out) == (0, f"{two.fid}\tfinished\n")


def test_until_waits_for_a_status(api: Api, cli: Cli) -> None:
    """All must have it at some time; words of other tools are understood."""
    one, two = Written(api), Written(api)
    assert cli("wait", one.fid, "--until", "queued").out == f"{one.fid}\tqueued\n"
    process = waiting("--until", "running", one.fid, two.fid)
    become(one, "running")
    become(two, "running")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert sorted(out.splitlines()) == sorted(f"{each.fid}\trunning" for each in (one, two))


def test_an_end_without_the_status_is_told(api: Api, cli: Cli) -> None:
    """Cancelled is 7 as ever; finished without it is 2."""
    one, two = Written(api), Written(api)
    one.write("x", ends=True)
    api.call(api.parts.supervisor.cancel(two.fid, grace_s=0))
    ran = cli("wait", one.fid, "--until", "running")
    assert ran.code == 2 and "finished without being running" in ran.err
    assert cli("wait", one.fid, two.fid, "--until", "running").code == 7
    three = Written(api)
    become(three, "running")
    ran = cli("wait", one.fid, three.fid, "--any", "--until", "running")
    assert (ran.code, ran.out) == (0, f"{three.fid}\trunning\n")


def test_until_gives_up_in_time(api: Api, cli: Cli) -> None:
    """Exit code 124, naming the status and the execution."""
    one = Written(api)
    ran = cli("wait", one.fid, "--until", "running", "--timeout", "0.3")
    assert ran.code == 124 and f"not running within 0.3 s: {one.fid}" in ran.err
    assert cli("wait", one.fid, "--until", "nonsense").code == 2


def test_run_notify_needs_something_to_wait_for(api: Api, cli: Cli) -> None:
    """Otherwise it would never be told."""
    ran = cli("run", "svc/flow", "--notify")
    assert ran.code == 2 and "--notify needs --follow or --wait" in ran.err


def test_notify_rings_the_bell_at_the_end(api: Api, terminal: Cli) -> None:
    """On a terminal, after the statuses."""
    one = Written(api)
    one.write("x", ends=True)
    ran = terminal("wait", one.fid, "--notify", env={"TERM": "dumb"})
    assert ran.out == f"{one.fid}\tfinished\n\a"
