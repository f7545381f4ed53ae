"""`koco logs` of many executions and of the control plane, with the real CLI."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.driver import PATIENCE_S, Koco, eventually

CODE = """
    import asyncio
    import sys

    print("imported", flush=True)
    print("a warning", file=sys.stderr, flush=True)

    async def count(n: int, tracer):
        for number in range(n):
            await tracer.result(number)
            await asyncio.sleep(0.05)
"""


@pytest.fixture(scope="module")
def counting(koco: Koco) -> Koco:
    return koco.deploy("counting", CODE)


def test_many_are_followed_across_a_crash_of_the_control_plane(
    counting: Koco, tmp_path: Path
) -> None:
    """Each event of each execution once, in its order; those that are launched later join."""
    shown = tmp_path / "shown"
    with shown.open("w") as stdout:
        process = counting.popen("logs", "-f", "--service", "counting", "--json", stdout=stdout)
    assert process.stderr is not None
    assert "no execution matches yet" in process.stderr.readline()
    fids = [counting.launch("counting/count", n=60) for _ in range(3)]
    eventually(lambda: shown.read_text().count('"kind":"result"') > 20)
    os.kill(counting.control_pid(), signal.SIGKILL)
    fids += [counting.run("run", "counting/count", "-i", "n=5").ok().out.strip() for _ in range(3)]
    counting.run("wait", *fids).ok()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    print(process.stderr.read())
    process.stderr.close()
    print(counting.run("logs", "--control", "-n", "60").out)
    events = [json.loads(text) for text in shown.read_text().splitlines()]
    for fid in fids:
        seqs = [each["seq"] for each in events if each["fid"] == fid]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) == counting.get(f"/v1/executions/{fid}")["last_seq"]


def test_the_control_planes_log_names_requests(counting: Koco) -> None:
    """Over the API, so from anywhere."""
    lines = counting.run("logs", "--control", "--json").ok().lines()
    assert any(each["message"].startswith("started at ") for each in lines)
    assert counting.run("logs", "--control", "--level", "critical").ok().out == ""


def test_any_and_until(counting: Koco) -> None:
    """The first one that ends, and one that has begun."""
    slow, quick = counting.launch("counting/count", n=200), counting.launch("counting/count", n=1)
    assert counting.run("wait", slow, "--until", "running").ok().out == f"{slow}\trunning\n"
    assert counting.run("wait", slow, quick, "--any").ok().out == f"{quick}\tfinished\n"
    counting.run("cancel", slow, "--wait").ok()


def test_the_output_of_runners_outside_executions(counting: Koco) -> None:
    """What was written on import, by both streams, and by runners that start later."""
    lines = counting.run("logs", "--runner", "counting", "--json").ok().lines()
    assert {(each["stream"], each["text"]) for each in lines} >= {
        ("stdout", "imported"),
        ("stderr", "a warning"),
    }
    process = counting.popen("logs", "-f", "--runner", "counting")
    assert process.stdout is not None
    shown = process.stdout.readline()
    assert shown.startswith("counting/1 ")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert counting.run("logs", "--runner", "nothing").code == 4
