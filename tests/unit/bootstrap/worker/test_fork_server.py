"""Workers of releases come from a fork server, and are what they would be without one."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.context import RuntimeEnvContext

from koco.bootstrap.worker import fork_server, setup_worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fork server needs Linux")

#: Stands for Ray's `default_worker.py`.
_WORKER = """
import json, os, random, sys, uuid
from pathlib import Path
import ray
from koco.sdk.process import birth
environ = Path("/proc/self/environ").read_bytes().decode("utf-8", "surrogateescape")
kernels = dict(each.partition("=")[::2] for each in environ.split("\\0") if each)
stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
print(json.dumps({
    "argv": sys.argv, "env": dict(os.environ), "kernels env": kernels, "path": sys.path,
    "folder": os.getcwd(), "niceness": os.getpriority(os.PRIO_PROCESS, 0),
    "score": Path("/proc/self/oom_score_adj").read_text(), "main": __name__,
    "title room": len(Path("/proc/self/cmdline").read_bytes()),
    "leads group": os.getpgrp() == os.getpid(), "has shell": os.system("test $KOCO_RELEASE = 7"),
    "files": [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.exists()],
    "is forked": birth.line is not None, "random": random.random(), "number": uuid.uuid4().hex,
}), flush=True)
if os.environ.get("CRASHES"):
    os.kill(os.getpid(), 9)
birth.is_over()
os.read(0, 1)
"""
#: What differs between a fork and an own process, or between any two processes.
_OTHER = ("is forked", "files", "title room", "random", "number")


def eventually(claim: Callable[[], bool]) -> None:
    """Wait until a claim is true."""
    deadline = time.monotonic() + 60
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Raylet:
    """Starts workers as a raylet does: each leads a group of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.worker = root / "worker.py"
        self.worker.write_text(_WORKER)
        (root / "sockets").mkdir()
        # Stands for the raylet's process: the server ends after it.
        self.process = subprocess.Popen(["sleep", "100"])
        source = Path(setup_worker.__file__).read_text("utf-8")
        patched = source.replace("raylet = os.getppid()", f"raylet = {self.process.pid}")
        (root / "setup_worker.py").write_text(patched)
        server = Path(fork_server.__file__).read_text("utf-8")
        (root / "fork_server.py").write_text(server.replace("_PAUSE_S = 1.5", "_PAUSE_S = 0.0"))

    def begin(self, *, folder: Path | None = None, **variables: str) -> "subprocess.Popen[str]":
        """Start a worker of a release."""
        given = RuntimeEnvContext(env_vars={"KOCO_RELEASE": "7", **variables}).serialize()
        return subprocess.Popen(
            [
                *(sys.executable, str(self.root / "setup_worker.py"), str(self.worker)),
                *("--node-ip-address=127.0.0.1", f"--raylet-name={self.root}/sockets/raylet"),
                *("--language=PYTHON", f"--serialized-runtime-env-context={given}"),
            ],
            env={**os.environ, "OF_RAYLET": "here", "PYTHONPATH": "/of-raylet"},
            cwd=folder or self.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def start(self, *, folder: Path | None = None, **variables: str) -> dict[str, Any]:
        """Start a worker, let it end, and return what it saw."""
        process = self.begin(folder=folder, **variables)
        out, _ = process.communicate("x", timeout=60)
        found: dict[str, Any] = json.loads(out)
        for part in ("env", "kernels env"):
            found[part].pop("LC_CTYPE", None)
        return found

    def wait_for_server(self) -> None:
        """Wait until a server listens."""
        deadline = time.monotonic() + 60
        while not self.sockets() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.sockets()

    def sockets(self) -> list[Path]:
        """Return the servers' sockets."""
        found = (self.root / "sockets").glob("kf-*")
        return [each for each in found if each.suffix != ".lock"]


@pytest.fixture
def raylet() -> Iterator[Raylet]:
    with tempfile.TemporaryDirectory(prefix="kf-") as root:  # sockets need a short path
        raylet = Raylet(Path(root))
        yield raylet
        raylet.process.kill()
        raylet.process.wait()
        deadline = time.monotonic() + 30
        while raylet.sockets() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not raylet.sockets(), "a fork server outlives its raylet"


def test_forks_are_what_a_worker_of_its_own_would_be(raylet: Raylet, tmp_path: Path) -> None:
    """Arguments, environment, search path, folder, priority: whoever looks sees no difference."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "own_flows.py").write_text("")
    (bundle / "koco.yaml").write_text("")
    variables = {"PYTHONPATH": str(bundle), "TZ": "Asia/Tokyo", "KOCO_TEST": "a 'b'\n\\"}
    own = raylet.start(folder=tmp_path, **variables)
    assert not own["is forked"]
    raylet.wait_for_server()
    forks = [raylet.start(folder=tmp_path, **variables) for _ in range(2)]
    for fork in forks:
        assert fork["is forked"]
        assert fork["title room"] > 100
        assert {k: v for k, v in fork.items() if k not in _OTHER} == {
            k: v for k, v in own.items() if k not in _OTHER
        }
        assert fork["env"] == fork["kernels env"]
    assert forks[0]["random"] != forks[1]["random"]
    assert forks[0]["number"] != forks[1]["number"]


@pytest.mark.parametrize("name", ["json.py", "ray", "sitecustomize.py"])
def test_bundles_with_names_of_imported_modules_get_their_own(
    raylet: Raylet, tmp_path: Path, name: str
) -> None:
    """In a fork, the author's module would be another one than in a process of its own."""
    raylet.start()
    raylet.wait_for_server()
    assert raylet.start(PYTHONPATH=str(tmp_path))["is forked"]
    (tmp_path / name).touch()
    process = raylet.begin(PYTHONPATH=str(tmp_path))
    out, _ = process.communicate("x", timeout=60)
    # It fails as it would without a server, or runs in a process of its own.
    assert not out or not json.loads(out)["is forked"]


def test_settings_that_count_at_the_start_have_a_server_of_their_own(raylet: Raylet) -> None:
    """Ray reads `RAY_…`, its job's among them, when it is imported. Four servers are enough."""
    raylet.start()
    raylet.wait_for_server()
    for number in range(1, 4):
        assert not raylet.start(RAY_JOB_ID=f"0{number}000000")["is forked"]
        deadline = time.monotonic() + 60
        while len(raylet.sockets()) <= number and time.monotonic() < deadline:
            time.sleep(0.02)
        assert raylet.start(RAY_JOB_ID=f"0{number}000000")["is forked"]
    for _ in range(2):
        assert not raylet.start(RAY_enable_timeline="0")["is forked"]
    assert len(raylet.sockets()) == 4


def test_environments_that_do_not_fit_get_their_own(raylet: Raylet) -> None:
    """The kernel shows an environment only as far as the server's own reaches."""
    raylet.start()
    raylet.wait_for_server()
    assert raylet.start(KOCO_TEST="x" * 10_000)["is forked"]
    long = raylet.start(KOCO_TEST="x" * 100_000)
    assert not long["is forked"]
    assert len(long["env"]["KOCO_TEST"]) == 100_000


def test_the_asking_process_lives_until_the_worker_has_reached_ray(raylet: Raylet) -> None:
    """Before that, its end means that the worker died at its start."""
    raylet.start()
    raylet.wait_for_server()
    asking = raylet.begin(CRASHES="1")
    out, _ = asking.communicate(timeout=60)
    assert json.loads(out)["is forked"]
    living = raylet.begin()
    assert living.stdout is not None
    assert json.loads(living.stdout.readline())["is forked"]
    assert living.wait(timeout=30) == 0  # it does not stay for as long as the worker
    living.communicate("x", timeout=30)


def test_stopped_servers_hold_up_no_worker(raylet: Raylet) -> None:
    """The worker starts as without one, and only once."""
    raylet.start()
    raylet.wait_for_server()
    server = _server_of(raylet)
    script = raylet.root / "setup_worker.py"
    script.write_text(script.read_text().replace("_ANSWER_S = 5.0", "_ANSWER_S = 0.5"))
    os.kill(server, signal.SIGSTOP)
    process = raylet.begin()
    assert process.stdout is not None
    try:
        assert not json.loads(process.stdout.readline())["is forked"]
    finally:
        os.kill(server, signal.SIGCONT)
    rest, _ = process.communicate("x", timeout=60)
    assert not rest
    assert raylet.start()["is forked"]


def test_another_server_follows_one_that_was_killed(raylet: Raylet) -> None:
    """Also if forks of the former one are still there, and a raylet may have no more servers."""
    script = raylet.root / "setup_worker.py"
    script.write_text(script.read_text().replace("_MOST = 4", "_MOST = 1"))
    raylet.start()
    raylet.wait_for_server()
    living = raylet.begin()
    assert living.stdout is not None
    fork = json.loads(living.stdout.readline())
    assert fork["is forked"]
    assert not [each for each in fork["files"] if "kf-" in each]
    os.kill(_server_of(raylet), signal.SIGKILL)
    eventually(lambda: not raylet.start()["is forked"])
    eventually(lambda: raylet.start()["is forked"])
    living.communicate("x", timeout=30)


def test_changed_code_ends_the_server(raylet: Raylet, tmp_path: Path) -> None:
    """A fork must have the code that is installed, not that of before an upgrade."""
    code = {__file__: (1, 2)}
    opened = os.pidfd_open(os.getpid())
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as asking:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        asking.connect(str(tmp_path / "s"))
        assert fork_server._serve(listener, opened, code) is None
    os.close(opened)


def test_preloads_nothing_with_a_state_that_forks_would_share() -> None:
    """numpy's global generator would give each fork the same numbers; threads do not survive."""
    code = (
        "import os, sys\n"
        "from koco.bootstrap.worker import fork_server\n"
        "fork_server._import_all()\n"
        "print(len(os.listdir('/proc/self/task')), 'numpy' in sys.modules, 'grpc' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["1", "False", "False"]


def _server_of(raylet: Raylet) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            if title.startswith(b"koco fork server") and (folder / "cwd").readlink() == raylet.root:
                return int(folder.name)
        except OSError:
            continue  # it has ended
    raise AssertionError("there is no fork server")
