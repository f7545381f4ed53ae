"""Workers that died before Ray heard of them, found in logs as Ray writes them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from koco.cluster import worker_starts
from koco.runner.process import ray_logs

URL = "http://127.0.0.1:1/bundles/a/b.zip"


class Logs:
    """A node's folder of logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)

    def born(self, service: str, pid: int, *, at: float, url: str = URL) -> None:
        whole, part = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)), f"{at % 1:.3f}"[2:]
        env = f'{{"env_vars": {{"KOCO_RELEASE": "2", "KOCO_SERVICE": "{service}"}}, '
        env += f'"py_modules": ["{url}"]}}'
        said = f"{whole},{part}\tINFO agent.py:1 -- Successfully created runtime env: {env}\n"
        self.write("runtime_env_agent.log", said)
        started = f"Started worker process with pid {pid} worker_id=a"
        self.write("raylet.out", f"[{whole},{part} I 1 1] (raylet) worker_pool.cc:5: {started}\n")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logs:
    monkeypatch.setattr(ray_logs, "folder", lambda: tmp_path)
    return Logs(tmp_path)


def ended() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_shows_what_a_process_wrote_before_it_died(log: Logs) -> None:
    """Its own traceback, found by its bundle's folder, not another's."""
    now = time.time()
    log.born("svc", pid := ended(), at=now)
    from ray._private.runtime_env.packaging import get_local_dir_from_uri

    folder = get_local_dir_from_uri(URL, "/").name
    mine = f'Traceback (most recent call last):\n  File "/x/{folder}/queue.py", line 1\nE: mine'
    log.write("raylet.err", f"{mine}\nTraceback (most recent call last):\n  other\nE: theirs\n")
    assert worker_starts.look("svc", 2, now - 1) == worker_starts.Birth(pid, False, mine)


def test_a_living_process_has_not_died(log: Logs) -> None:
    """Others are ignored: of other services and releases, and earlier ones."""
    now = time.time()
    assert worker_starts.look("svc", 2, now - 1) is None, "no logs"
    log.born("svc", os.getpid(), at=now)
    assert worker_starts.look("svc", 2, now - 1) == worker_starts.Birth(os.getpid(), True)
    assert worker_starts.look("svc", 3, now - 1) is None
    assert worker_starts.look("other", 2, now - 1) is None
    assert worker_starts.look("svc", 2, now + 1) is None


def test_shows_the_last_lines_if_there_is_no_traceback(log: Logs) -> None:
    """A program may write anything before it ends."""
    log.born("svc", pid := ended(), at=time.time())
    log.write("raylet.err", "no licence\n")
    assert worker_starts.look("svc", 2, time.time() - 5) == worker_starts.Birth(
        pid, False, "no licence"
    )


def test_reports_a_process_that_wrote_nothing(log: Logs) -> None:
    """Earlier output of others is not its own."""
    log.write("raylet.err", "old\n")
    os.utime(log.folder / "raylet.err", (1, 1))
    log.born("svc", pid := ended(), at=time.time())
    assert worker_starts.look("svc", 2, time.time() - 5) == worker_starts.Birth(pid, False, "")


def test_reads_the_installers_progress_from_its_log(log: Logs) -> None:
    """The last step that helps someone who waits."""
    assert worker_starts.installing() is None
    log.write("runtime_env_setup-01.log", "x INFO -- Cloning virtualenv /a to /b\nRun cmd[1]\n")
    assert worker_starts.installing() == "a virtual environment is made"
    log.write("runtime_env_setup-01.log", "Installing python requirements to /x\nRun cmd[3] pip\n")
    assert worker_starts.installing() == "the installer runs"
