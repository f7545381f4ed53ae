"""The remains in a dead process's directory, and how they are used; without Ray."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from koco.events import wire
from koco.events.model import Status
from koco.events.wire import Batch
from koco.runner.output import backlog, pipe_keeper
from koco.runner.process import ray_logs
from koco.runner.remains import Remains, collect_from
from koco.sdk.process import crash
from tests.support.driver import eventually

#: A runner's process without Ray: it has one execution, and the following is its flow.
RUNNER = """
    import asyncio, ctypes, os, signal, subprocess, sys, threading, time
    from pathlib import Path
    from koco.events import line
    from koco.events.model import Kind, Status
    from koco.runner import home
    from koco.runner.output.capture import Capture
    from koco.runner.output.lines import Output
    from koco.runner.output.spool import Spool
    from koco.sdk.process import crash

    crash.directory = lambda name: Path(sys.argv[1]) / name
    home = home.Home("r1")
    capture = Capture(dedicated=True, on_pipes=home.hand_over, files=home.open_pipe_files())
    capture.install()
    while not (crash.directory("r1") / "kept").exists():
        time.sleep(0.001)

    async def never(blob):
        await asyncio.Event().wait()

    async def main():
        spool = Spool("r1", never, backlog=home.backlog)
        sink = spool.open("f", 1)
        output = Output(lambda kind, text: sink.put("f", line.encode(kind, text), output.kept),
                        lines=home.lines_of("f", 1))
        home.set_pipe_owner("f", 1)
        capture.begin(output)
        await asyncio.to_thread(flow, output)

    def flow(output):
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for the directories of processes; the keeper that serves it ends without help."""
    folder = tmp_path / "koco"
    yield folder


def left_by(folder: Path, flow: str) -> Remains:
    folder.parent.mkdir(exist_ok=True)
    code = textwrap.dedent(RUNNER) + textwrap.indent(textwrap.dedent(flow), "    ")
    code += "\nasyncio.run(main())\n"
    subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        check=False,
        timeout=60,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return collect_from(folder / "r1")


def texts(remains: Remains) -> list[str]:
    """The printed texts in order: events first, then output that was not an event yet."""
    import json

    batches = [batch for blob in remains.batches for batch in wire.decode_batches(blob)]
    lines = [text for batch in batches for text in batch.body.split(b"\n")]
    events = [json.loads(b"{" + text)["payload"] for text in lines]
    return events + [text for tail in remains.tails for _, text in tail.lines]


@pytest.mark.parametrize(
    ("flow", "printed", "end"),
    [
        ("print('x'); os._exit(7)", ["x"], "ended with exit code 7"),
        ("os.write(1, b'x'); os._exit(7)", ["x"], "ended with exit code 7"),
        ("print('x'); print('50', end=''); os.kill(os.getpid(), 9)", ["x", "50"], "SIGKILL"),
        ("print('half ', end=''); os.write(1, b'x'); os._exit(0)", ["half x"], "code 0"),
        ("subprocess.run(['sh', '-c', 'echo x; kill -9 $PPID'])", ["x"], "SIGKILL"),
        ("ctypes.CDLL(None).printf(b'x\\n'); ctypes.CDLL(None).abort()", ["x"], "SIGABRT"),
        ("print('x'); os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", ["x"], "SIGTERM"),
        ("print('x'); os.kill(os.getpid(), signal.SIGUSR1); time.sleep(9)", ["x"], "SIGUSR1"),
        ("print('x'); ctypes.string_at(0)", ["x"], "SIGSEGV"),
    ],
)
def test_collects_output_and_end(folder: Path, flow: str, printed: list[str], end: str) -> None:
    """However it was written, and whatever ended the process."""
    remains = left_by(folder, flow)
    assert texts(remains) == printed
    assert end in str(remains.end)
    # So this also holds if the kernel does not report the end.
    (folder / "r1" / pipe_keeper.STATUS).unlink()
    assert end in str(crash.conclude(folder / "r1"))


def test_the_first_crash_counts(tmp_path: Path) -> None:
    """While Python writes the stacks of running threads it may crash again, by another signal."""
    word = "Fatal Python error: Aborted\n\nThread 0x1 (most recent call first):\n"
    (tmp_path / "crash").write_text(f"{word}Fatal Python error: Segmentation fault\n\n")
    (tmp_path / pipe_keeper.STATUS).write_text(str(int(signal.SIGSEGV)))
    assert collect_from(tmp_path).end == crash.End(signal=signal.SIGABRT)
    (tmp_path / pipe_keeper.STATUS).write_text(str(int(signal.SIGKILL)))
    assert collect_from(tmp_path).end == crash.End(signal=signal.SIGKILL)


def test_a_forks_end_is_not_its_parents(folder: Path) -> None:
    """Copies made by `fork` end with their own signals and `os._exit`."""
    flow = """
        if not os.fork(): os._exit(5)
        if not (child := os.fork()): time.sleep(60)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM); os.wait(); os.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert left_by(folder, flow).end == crash.End(signal=9)
    assert crash.read(folder / "r1") is None


def test_a_crash_has_the_frames_of_its_thread(folder: Path) -> None:
    """The newest is last, as in a traceback, and koco's own are not shown."""
    flow = """
        def inner():
            ctypes.string_at(0)
        inner()
    """
    end = left_by(folder, flow).end
    assert end
    shown = [text.strip() for text in end.traceback.splitlines()]
    assert shown[0] == "Traceback (most recent call last):"
    assert [text.rpartition(" in ")[2] for text in shown if " in " in text][-3:] == [
        "flow",
        "inner",
        "string_at",
    ]
    assert "koco/runner" not in end.traceback


def test_pipes_are_reused_unless_a_child_has_them(folder: Path) -> None:
    """A child that an execution leaves behind never writes to another execution's output."""
    flow = """
        capture.end(output)
        pipes = dict(capture._pipes._pipes)
        events = []
        take = lambda: Output(lambda kind, text: events.append(text))
        capture.begin(second := take())
        assert capture._pipes._pipes == pipes
        os.write(1, b"two\\n")
        child = subprocess.Popen(["sh", "-c", "sleep 0.3; echo late"])
        capture.end(second)
        capture.begin(third := take())
        assert capture._pipes._pipes != pipes
        child.wait(); os.write(1, b"three\\n")
        capture.end(third)
        assert events == ["two", "three"], events
        os._exit(9)
    """
    assert left_by(folder, flow).end == crash.End(code=9)


def test_files_are_private_and_removed_on_a_normal_end(folder: Path) -> None:
    """No other user may read a flow's output; a runner that ends normally leaves nothing."""
    left_by(folder, "assert os.stat(crash.directory('r1')).st_mode & 0o777 == 0o700; home.leave()")
    assert not (folder / "r1").exists()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_keeper_ends_after_the_last_runner(folder: Path, tmp_path: Path) -> None:
    """It serves all runners of a node, and ends some seconds after the last one."""
    left_by(folder, "os._exit(0)")
    sock = str(folder / "keeper.sock")

    def listening() -> bool:
        return any(sock in text for text in Path("/proc/net/unix").read_text().splitlines())

    assert listening()
    eventually(lambda: not listening(), within_s=20)


def test_events_after_a_gap_are_not_lost(tmp_path: Path) -> None:
    """A full disk took no events for a while, so those were lost with memory: the others arrive."""
    path = tmp_path / "r1"
    path.mkdir()
    whose = b'\x01["f",1,"p",%d]\n'
    data = whose % 4 + b"four\nfive\n" + whose % 9 + b"nine\n\x02finished\n"
    (path / "backlog.0").write_bytes(data + bytes(100))
    [left] = backlog.read(path)
    assert left.status is Status.FINISHED
    batches = [b for blob in collect_from(path).batches for b in wire.decode_batches(blob)]
    assert batches == [
        Batch("f", "p", 4, 2, b"four\nfive", "r1", None, 1),
        Batch("f", "p+9", 1, 1, b"nine", "r1", Status.FINISHED, 1),
    ]


def test_an_unreadable_file_does_not_hide_the_cause(tmp_path: Path) -> None:
    """A damaged file costs only its own contents."""
    path = tmp_path / "r1"
    path.mkdir()
    (path / "backlog.0").write_bytes(b"damaged\n")
    (path / "exit").write_text("7")
    (path / "crash").touch()
    assert collect_from(path) == Remains(end=crash.End(code=7))


def test_old_directories_of_dead_processes_are_swept(tmp_path: Path) -> None:
    """Those of living processes stay, and so do recent ones, which may still be collected."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for name, pid in (("dead", process.pid), ("alive", os.getpid()), ("late", process.pid)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "process").write_text(f"{pid} s/1")
        if name != "late":
            os.utime(tmp_path / name, (time.time() - 2 * crash.STALE_S,) * 2)
    crash.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "late"]


def test_last_lines_leave_out_rays_own(tmp_path: Path) -> None:
    """The last lines of both streams; of several logs of the same pid the newest counts."""
    (tmp_path / "worker-a-01-7.out").write_text("of another process\n")
    os.utime(tmp_path / "worker-a-01-7.out", (1, 1))
    printed = [f"line {number}" for number in range(30)]
    (tmp_path / "worker-b-01-7.out").write_text("\n".join([":job_id:01", *printed]))
    crashed = (
        "*** SIGSEGV received at time=1 on cpu 1 ***\nPC: @     0x7f  (unknown)  epoll_wait\n"
        "    @     0x7f   32  run()\n    @ ... and at least 9 more frames\n"
        "[2026-01-01 00:00:00,000 E 7 7] logging.cc:474: PC: @\nown words\n"
    )
    (tmp_path / "worker-b-01-7.err").write_text(crashed)
    assert ray_logs.last_lines_in(tmp_path, 7).splitlines() == [*printed[-20:], "own words"]
    assert ray_logs.last_lines_in(tmp_path, 8) == ""
