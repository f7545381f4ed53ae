"""`koco up` replaces a control plane by a newer one in place: what runs goes on."""

import json
import secrets
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

import koco as package
from koco.bootstrap.local_head import mark_of
from tests.support.driver import Done, Koco, eventually, kill9, koco_of_its_own, needs_file

MANY = """
    import asyncio, os

    from koco import Launch, ServeAPI

    app = ServeAPI()

    @app.enter("/")
    def enter(request):
        return Launch(request, _hi)

    @app.get("/hello")
    def hello():
        return "hello"

    def _hi():
        return "hi"

    async def emit(tracer, end: str, count: int = 2000):
        number = 0
        while number < count or not os.path.exists(end):
            await tracer.result(number)
            await asyncio.sleep(0.002)
            number += 1
        return number

    async def approve(tracer):
        return await tracer.lock("go")

    async def remote(tracer, end: str):
        import ray

        @ray.remote(num_cpus=0)
        def work(tracer):
            import time

            number = 0
            while not os.path.exists(end):
                tracer.result_sync(number)
                time.sleep(0.01)
                number += 1
            return number

        return await work.remote(tracer)
"""

ONE = """
    import os, time

    def nap(tracer, end: str = "/"):
        tracer.result_sync("began")
        while not os.path.exists(end):
            time.sleep(0.02)
        return "slept"
"""

#: What a module ends with in a koco that does not start, and what is told of it.
BROKEN = {
    "control/executions/launcher.py": (
        "\nimport sys\nif sys.argv[0].endswith('default_worker.py'):\n"
        "    raise RuntimeError('broken at import')\n",
        "the upgrade failed, koco 0.2.0 continues: RuntimeError: broken at import",
    ),
    "control/executions/supervisor.py": (
        "\nasync def _broken(*_):\n    raise RuntimeError('broken at start')\n"
        "Supervisor.recover = _broken\n",
        "the upgrade failed, koco 0.2.0 continues: RuntimeError: broken at start",
    ),
}


#: What another version has under other names: nobody's business but its own.
RENAMED = (("control/process.py", "_places"), ("runner/executor.py", "_conclude"))


@dataclass
class Kocos:
    """A running koco, and copies of its code that call themselves other versions."""

    koco: Koco
    #: The version that `koco` itself is.
    version: str = "0.1.0"
    made: dict[str, Path] = field(default_factory=dict)

    @contextmanager
    def napping(self) -> Iterator[None]:
        """Have an execution run all the while: in one process, from its beginning to its end."""
        runners = self.processes("ray::Runner")
        end = self.koco.root / secrets.token_hex(4)
        fid = self.koco.launch("one/nap", end=str(end))
        eventually(lambda: self.koco.get(f"/v1/executions/{fid}")["status"] == "running")
        try:
            yield
            assert self.koco.get(f"/v1/executions/{fid}")["status"] == "running"
        finally:
            end.touch()
        assert self.koco.events(fid)[-1]["payload"] == {"status": "finished"}
        assert self.processes("ray::Runner") == runners

    def copy(self, version: str, name: str = "", change: tuple[str, str] | None = None) -> Path:
        """Return the directory of a copy, to be put on the PYTHONPATH."""
        name = name or version
        if name not in self.made:
            here, place = Path(package.__file__).parent, self.koco.root / f"koco-{name}"
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(here, place / "koco", ignore=ignored)
            init = place / "koco" / "__init__.py"
            text = init.read_text().replace(package.__version__, version)
            init.write_text(text)
            for module, method in RENAMED:
                file = place / "koco" / module
                file.write_text(file.read_text().replace(method, f"{method}_anew"))
            if change:
                with (place / "koco" / change[0]).open("a") as module:
                    module.write(change[1])
            self.made[name] = place
        return self.made[name]

    def up(self, place: Path, *args: str) -> Done:
        """Run `koco up` of a copy."""
        return self.koco.run("up", *args, env={"PYTHONPATH": str(place)})

    def runs(self) -> tuple[str, int]:
        """Return the version and the process of the control plane that answers."""
        plane = self.koco.get("/v1/status")["control_plane"]
        return plane["version"], plane["pid"]

    def processes(self, title: str) -> set[int]:
        """Return this cluster's processes with a title of Ray's."""
        mark, found = mark_of(self.koco.home), set()
        for process in psutil.process_iter():
            try:
                if process.environ().get("KOCO_CLUSTER") == mark and process.cmdline()[
                    0
                ].startswith(title):
                    found.add(process.pid)
            except (psutil.Error, IndexError):
                continue
        return found


@pytest.fixture(scope="module")
def kocos() -> Iterator[Kocos]:
    """koco 0.1.0 that runs, with services."""
    with koco_of_its_own() as koco:
        kocos = Kocos(koco)
        koco.env["PYTHONPATH"] = str(kocos.copy("0.1.0"))
        koco.up()
        flows = [
            {"name": name, "entrypoint": f"many_app:{name}"}
            for name in ("emit", "approve", "remote")
        ]
        runner = {"min": 1, "max": 1, "concurrency": 4}
        koco.deploy("many", MANY, app="many_app:app", flows=flows, runner=runner)
        koco.deploy("one", ONE, runner={"min": 1, "max": 1})
        yield kocos


def test_what_runs_goes_on(kocos: Kocos) -> None:
    """Followers get every event once; approvals, queued executions and Ray tasks live on."""
    koco, end = kocos.koco, kocos.koco.root / "end"
    emits = koco.launch("many/emit", end=str(end))
    follower = koco.popen("logs", emits, "-f", "--json")
    asks, tasks = koco.launch("many/approve"), koco.launch("many/remote", end=str(end))
    naps, waits = koco.launch("one/nap", end=str(end)), koco.launch("one/nap")
    eventually(lambda: koco.get(f"/v1/executions/{asks}")["status"] == "awaiting")
    eventually(lambda: any(e["payload"] == 3 for e in koco.get_events(tasks)))
    eventually(lambda: koco.get(f"/v1/executions/{naps}")["status"] == "running")
    runners, (version, pid) = kocos.processes("ray::Runner"), kocos.runs()
    assert version == "0.1.0"
    with asked(koco, "/v1/services/many/app/hello") as gaps:
        told = kocos.up(kocos.copy("0.2.0")).ok()
    assert "upgraded the control plane in place, from koco 0.1.0" in told.err
    assert kocos.runs()[0] == "0.2.0"
    assert kocos.runs()[1] != pid
    assert kocos.processes("ray::ControlPlane") == {kocos.runs()[1]}, "the old one is gone"
    assert max(gaps) < 5, gaps
    print(f"longest gap between two answers: {max(gaps):.3f} s")

    assert koco.get(f"/v1/executions/{waits}")["status"] == "queued"
    end.touch()
    with koco.http() as client:
        assert client.post(f"/v1/executions/{asks}/locks/go", json="yes").status_code == 200
    out, err = follower.communicate(timeout=60)
    assert follower.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    numbers = [event["payload"] for event in events if event["kind"] == "result"]
    assert len(numbers) >= 2000
    assert numbers == list(range(len(numbers)))
    for fid in (emits, tasks):
        told = koco.events(fid)
        numbers = [event["payload"] for event in told if event["kind"] == "result"]
        [count] = [event["payload"] for event in told if event["kind"] == "final"]
        assert numbers == list(range(count))
    for fid, result in ((asks, "yes"), (naps, "slept"), (waits, "slept")):
        [final] = [each["payload"] for each in koco.events(fid) if each["kind"] == "final"]
        assert final == result
    assert kocos.processes("ray::Runner") == runners
    assert koco.execute("one/nap").status == "finished"


def test_what_runs_as_asked_is_left_alone(kocos: Kocos) -> None:
    """`koco up` of the same koco changes nothing, and does not even join Ray."""
    kocos.up(kocos.copy("0.2.0")).ok()
    before = kocos.runs()
    again = kocos.up(kocos.copy("0.2.0")).ok()
    assert "upgraded" not in again.err
    assert "joining" not in again.err
    assert kocos.runs() == before


def test_the_api_moves_to_another_port(kocos: Kocos) -> None:
    """Where only how it is reached changes, executions go on as well; a port taken is refused."""
    koco, place = kocos.koco, kocos.copy("0.2.0")
    with kocos.napping():
        before = kocos.runs()
        with closing(socket.socket()) as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            refused = kocos.up(place, "--port", str(port))
            assert refused.code != 0
            assert str(port) in refused.err
            assert kocos.runs() == before
        kocos.up(place, "--port", str(port)).ok()
        assert koco.context["url"].endswith(f":{port}")
        assert kocos.runs()[1] != before[1]


def test_a_newer_one_is_not_taken_back(kocos: Kocos) -> None:
    """An older koco refuses, touches nothing, and says what to do."""
    kocos.up(kocos.copy("0.2.0")).ok()
    before = kocos.runs()
    refused = kocos.up(kocos.copy("0.1.0"))
    assert refused.code == 2
    assert "koco 0.2.0, newer than this one, 0.1.0" in refused.err
    assert "upgrade koco here" in refused.err
    assert kocos.runs() == before


@needs_file
def test_a_store_from_the_future_is_left_alone(kocos: Kocos) -> None:
    """Refused before anything is closed; not a byte of the file changes, the old one serves."""
    path = kocos.koco.home / "local" / "store.db"
    before = kocos.runs()
    with versioned(path, 99):
        content = path.read_bytes()
        refused = kocos.up(kocos.copy("0.3.0"))
        assert refused.code == 2
        assert "the store has version 99" in refused.err
        assert path.read_bytes() == content
        assert kocos.runs() == before
    assert kocos.koco.execute("one/nap").status == "finished"


@pytest.mark.parametrize("module", BROKEN)
def test_one_that_does_not_start_leaves_the_old_one(kocos: Kocos, module: str) -> None:
    """Broken before it takes over or after: told why, and the old process goes on.

    Whoever waits for an answer meanwhile gets it.
    """
    change, said = BROKEN[module]
    koco = kocos.koco
    asks = koco.launch("many/approve")
    eventually(lambda: koco.get(f"/v1/executions/{asks}")["status"] == "awaiting")
    with kocos.napping():
        before = kocos.runs()
        failed = kocos.up(kocos.copy("0.3.0", f"broken-{Path(module).stem}", (module, change)))
        assert failed.code == 1
        assert said in failed.err
        assert eventually(kocos.runs) == before
    assert koco.execute("one/nap").status == "finished"
    with koco.http() as client:
        assert client.post(f"/v1/executions/{asks}/locks/go", json="yes").status_code == 200
    assert koco.events(asks)[-1]["payload"] == {"status": "finished"}


def test_an_upgrade_that_is_killed_is_mended(kocos: Kocos) -> None:
    """kill -9 of `koco up` and of the new control plane as it takes over; runners wait for one."""
    koco, place = kocos.koco, kocos.copy("0.4.0")
    log = koco.home / "local" / "control.log"
    with kocos.napping():
        old = kocos.processes("ray::ControlPlane")
        handed_over = log.read_text().count("handing over")
        up = koco.popen("up", env={"PYTHONPATH": str(place)})
        soon(lambda: log.read_text().count("handing over") > handed_over)
        for child in psutil.Process(up.pid).children(recursive=True):
            kill9(child.pid)
        kill9(up.pid)
        up.communicate()
        for pid in kocos.processes("ray::ControlPlane") - old:
            kill9(pid)
        kocos.up(place).ok()
        assert kocos.runs()[0] == "0.4.0"
        assert kocos.processes("ray::ControlPlane") == {kocos.runs()[1]}


def soon(claim: Callable[[], bool]) -> None:
    """Wait without a pause: the moment is short."""
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline


@contextmanager
def asked(koco: Koco, path: str) -> Iterator[list[float]]:
    """Ask all the time; give the list of the pauses between two answers."""
    gaps, over = [0.0], threading.Event()

    def ask() -> None:
        last = time.monotonic()
        while not over.is_set():
            try:
                with koco.http() as client:
                    answer = client.get(path)
            except httpx.TransportError:
                continue  # nobody listens, for the moment
            assert answer.json() == "hello", answer.text
            now = time.monotonic()
            gaps.append(now - last)
            last = now
            time.sleep(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield gaps
    finally:
        over.set()
        thread.join()


@contextmanager
def versioned(path: Path, version: int) -> Iterator[None]:
    """Have the store call itself another version."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        (was,) = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {version}")
        yield
        db.execute(f"PRAGMA user_version = {was}")
