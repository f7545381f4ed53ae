"""What people type who know other tools, against a real control plane and with the real CLI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.driver import Done, Koco

CODE = """
    def ok(tracer):
        print("one")
        return "fine"

    def bad():
        raise ValueError("no")
"""


@pytest.fixture
def habits(koco: Koco) -> Koco:
    return koco.deploy("habits", CODE)


def hint_of(done: Done) -> str:
    assert (done.code, done.out) == (2, "")
    return done.err.rpartition("hint: ")[2].rstrip("\n")


def test_a_flow_stands_for_its_latest_execution(habits: Koco) -> None:
    """By its full name, wherever an execution is looked at; not where one is ended."""
    habits.run("run", "habits/ok", "--wait").ok()
    bad = habits.run("run", "habits/bad", "--wait").out.strip()
    fid = habits.run("run", "habits/ok", "--wait").out.strip()
    habits.run("run", "habits/bad", "--wait")
    assert habits.run("logs", "habits/ok").ok().out == "one\nfine\n"
    assert habits.run("show", "habits/ok").ok().out.startswith(f"fid       {fid}\n")
    assert habits.run("result", "habits/ok").ok().out == "fine\n"
    assert habits.run("wait", "habits/ok").ok().out == f"{fid}\tfinished\n"
    assert habits.run("result", "habits/bad").code == 1
    assert bad not in habits.run("show", "habits/bad").out
    assert "koco ps -a --flow habits/ok" in hint_of(habits.run("cancel", "habits/ok"))
    nothing = habits.run("logs", "habits/none")
    assert nothing.code == 4 and "http" not in nothing.err


def test_a_status_of_the_field_is_koco_s(habits: Koco) -> None:
    """`failed` is `error`; what nobody knows is refused with what there is."""
    habits.run("run", "habits/bad", "--wait")
    failed = habits.run("ps", "--status", "failed", "--flow", "habits/bad").ok()
    assert (
        "\terror\t" in failed.out
        and failed.out == habits.run("ps", "--status", "error", "--flow", "habits/bad").out
    )
    assert "one of: queued" in hint_of(habits.run("ps", "--status", "odd"))


def test_a_prefix_that_is_too_short_lists_what_it_may_mean(habits: Koco) -> None:
    """With flow and status: enough to choose by."""
    first: dict[str, list[str]] = {}
    while not (several := [fids for fids in first.values() if len(fids) > 1]):
        fid = habits.run("run", "habits/ok", "--wait").out.strip()
        first.setdefault(fid[0], []).append(fid)
    done = habits.run("show", several[0][0][0])
    assert done.code == 2
    for fid in several[0]:
        assert f"{fid} (habits/ok, finished)" in done.err


def test_words_lead_to_commands(habits: Koco) -> None:
    """And the commands to what they say."""
    assert hint_of(habits.run("stop")).startswith("`koco cancel FID` ")
    assert hint_of(habits.run("deploy", "--dry-run")).startswith("`koco plan` ")
    assert hint_of(habits.run("run", "habits/ok", "--title", "x")) == "is it an input? `-i title=x`"
    assert habits.run("help", "run").ok().out == habits.run("run", "--help").ok().out
    assert habits.run("version").ok().out == habits.run("--version").ok().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="not on this system")
def test_a_full_disk_is_no_outcome(habits: Koco) -> None:
    """The execution has finished, and what it said is not all there: 74, and no word of a bug."""
    fid = habits.run("run", "habits/ok", "--wait").out.strip()
    for args in (("logs", fid), ("logs", fid, "-f", "--json"), ("result", fid)):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "koco", *args],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **habits.env},
                check=False,
            )
        assert done.returncode == 74
        assert "No space left on device" in done.stderr and "bug" not in done.stderr
