"""A koco of one's own: home, Ray and ports in temporary places, driven as users drive it."""

import contextlib
import copy
import functools
import hashlib
import io
import itertools
import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import postgres

#: Whether all stores are in PostgreSQL.
ON_POSTGRES = os.environ.get("KOCO_STORE") == "postgresql"
#: For what only a store in a file can show.
needs_file = pytest.mark.skipif(ON_POSTGRES, reason="about a store in a file")

#: Generous: machines are shared. Nothing here waits this long when all is well.
PATIENCE_S = 60.0

#: `ray start` for one more node on 127.0.0.1, where Ray wants no second one (see
#: `koco.bootstrap.local_head.joining_environment`).
_NODE = """
from ray._private import ray_constants, services
ray_constants.ENABLE_RAY_CLUSTER = True
services.resolve_ip_for_localhost = str
from ray.scripts.scripts import cli
cli()
"""


#: A service with an endpoint of its own, which Ray Serve runs.
APP = """
    from koco import Launch, ServeAPI

    app = ServeAPI()

    @app.enter("/")
    def enter(request):
        return Launch(request, hi)

    def hi():
        return "hi"
"""


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return the certificates to trust. To read them for each client takes most of its time."""
    return ssl.create_default_context()


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def ok(self) -> "Done":
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    def json(self) -> Any:
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


#: Errors after which Ray is started once more: another cluster that started at the same moment has
#: taken a port, or the machine was so busy that Ray's own limit of 30 s was over.
_STARTS_AGAIN = ("make sure the same port is not used", "timed out during startup")


class Koco:
    """One home directory, and what runs for it."""

    #: Flows without a service in their name are of this one.
    service = ""

    def __init__(self) -> None:
        # Short: Ray puts sockets in there, whose paths may have 107 characters.
        self.root = Path(tempfile.mkdtemp(prefix="koco-", dir="/tmp"))
        self.home = self.root / "home"
        dropped = ("KOCO_", "RAY_", "NO_COLOR", "FORCE_COLOR")
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(dropped)},
            "KOCO_HOME": str(self.home),
            "RAY_TMPDIR": str(self.root),
            "RAY_AUTH_TOKEN_PATH": str(self.root / "token"),
            "COLUMNS": "80",
        }
        #: The database of its store; otherwise that is a file.
        self.store = postgres.databases().made(self.root) if ON_POSTGRES else ""

    # the command line

    def popen(self, *args: str, cwd: Path | None = None, **more: Any) -> subprocess.Popen[str]:
        env = {**self.env, **more.pop("env", {})}
        return subprocess.Popen(
            [sys.executable, "-m", "koco", *args],
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "cwd": cwd or self.root,
                "env": env,
                **more,
            },
        )

    def run(self, *args: str, stdin: str | None = None, **more: Any) -> Done:
        if stdin is not None:
            more["stdin"] = subprocess.PIPE
        process = self.popen(*args, **more)
        try:
            out, err = process.communicate(stdin, timeout=150)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Done(process.returncode, out, err)

    def up(self, *args: str) -> "Koco":
        if self.store and "--store" not in args:
            args = ("--store", self.store, *args)
        done = self.run("up", "--free-ports", *args)
        if any(each in done.err for each in _STARTS_AGAIN):
            self.run("down").ok()
            done = self.run("up", "--free-ports", *args)
        done.ok()
        return self

    def close(self) -> None:
        done = self.run("down")
        shutil.rmtree(self.root, ignore_errors=True)
        done.ok()

    @contextlib.contextmanager
    def another_node(
        self,
        *,
        resources: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
        folder: Path | None = None,
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """One more Ray node on this machine; its processes are children of the one yielded.

        It shares the head's folder, with its sockets and its code of services, or has its own.
        """
        from koco.bootstrap.local_head import mark_of, starting_environment

        agent = socket.socket()
        agent.bind(("127.0.0.1", 0))
        options = {
            "--address": self.context["cluster"]["address"],
            "--node-ip-address": "127.0.0.1",
            "--num-cpus": "2",
            "--dashboard-agent-listen-port": str(agent.getsockname()[1]),
            "--resources": json.dumps(resources or {}),
            "--labels": ",".join(f"{name}={value}" for name, value in (labels or {}).items()),
            **({"--temp-dir": str(folder)} if folder else {}),
        }
        agent.close()
        before = len(self.get("/v1/status")["ray"]["nodes"])
        process = subprocess.Popen(
            [sys.executable, "-c", _NODE, "start", "--block", *itertools.chain(*options.items())],
            cwd=self.root,  # what flows write there is to go with it
            # The mark: `koco down` ends what this one leaves behind.
            env={**starting_environment(mark_of(self.home)), **self.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            eventually(lambda: len(self.get("/v1/status")["ray"]["nodes"]) > before)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()  # the rest of the node has the mark, and goes with `koco down`
                process.wait()

    # the API

    @property
    def context(self) -> dict[str, Any]:
        import tomllib

        document = tomllib.loads((self.home / "contexts.toml").read_text())
        found: dict[str, Any] = document["contexts"]["local"]
        return found

    def http(self, **more: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.context['key']}"}
        return httpx.Client(
            **{
                "base_url": self.context["url"],
                "headers": headers,
                "timeout": PATIENCE_S,
                "trust_env": False,
                "verify": _certificates(),
                **more,
            }
        )

    def get(self, path: str, **params: Any) -> Any:
        with self.http() as client:
            answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def look(self, query: str) -> list[Any]:
        """Return the rows of a query of the store."""
        if self.store:
            import psycopg

            with psycopg.connect(self.store, options="-c search_path=koco") as server:
                return server.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]
        path = self.home / "local" / "store.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()

    def own_secrets(self) -> dict[str, bytes]:
        """Return the store's own secrets, by name."""
        return dict(self.look("SELECT name, value FROM secrets"))

    def control_pid(self) -> int:
        pid: int = self.get("/v1/status")["control_plane"]["pid"]
        return pid

    # projects

    def project(self, service: str, code: str, **manifest: Any) -> Path:
        """Write a project whose module is `<service>_app`; return its directory."""
        root = self.root / f"project-{service}"
        root.mkdir(exist_ok=True)
        module = f"{service.replace('-', '_')}_app"
        (root / f"{module}.py").write_text(textwrap.dedent(code))
        if "flows" not in manifest:
            manifest["flows"] = [
                {"name": name.replace("_", "-"), "entrypoint": f"{module}:{name}"}
                for name in _functions(textwrap.dedent(code))
            ]
        (root / "koco.toml").write_text(f'[project]\nname = "{service}"\n')
        (root / "koco.yaml").write_text(json.dumps({"service": service, **manifest}))
        return root

    def deploy(self, service: str, code: str, **manifest: Any) -> "Koco":
        """Deploy a project; return this koco, with the service as the default one."""
        self.run("deploy", cwd=self.project(service, code, **manifest)).ok()
        mine = copy.copy(self)
        mine.service = service
        return mine

    def clear(self) -> None:
        """Undeploy every service, with what runs of it."""
        with self.http() as client:
            for service in client.get("/v1/services").json()["items"]:
                params: dict[str, Any] = {"running": "cancel", "grace_s": 0}
                answer = client.delete(f"/v1/services/{service['service']}", params=params)
                assert answer.status_code == 200, answer.text

    def launch(self, flow: str, **inputs: Any) -> str:
        flow = flow if "/" in flow or not self.service else f"{self.service}/{flow}"
        with self.http() as client:
            answer = client.post(f"/v1/flows/{flow}", json=inputs)
        assert answer.status_code == 201, answer.text
        fid: str = answer.json()["result"]
        return fid

    def events(self, fid: str, **params: Any) -> list[dict[str, Any]]:
        """Follow an execution to its end; return its events."""
        query = {"follow": "true", **params}
        with (
            self.http() as client,
            client.stream("GET", f"/v1/executions/{fid}/events", params=query) as answer,
        ):
            assert answer.status_code == 200, answer.read()
            return [json.loads(line) for line in answer.iter_lines() if line]

    def get_events(self, fid: str, **params: Any) -> list[dict[str, Any]]:
        """Return what events there are now."""
        with self.http() as client:
            answer = client.get(f"/v1/executions/{fid}/events", params=params)
        return [json.loads(line) for line in answer.text.splitlines()]

    def execute(self, flow: str, **inputs: Any) -> "Ended":
        fid = self.launch(flow, **inputs)
        return Ended(fid, self.events(fid))


@dataclass(frozen=True)
class Ended:
    """An execution that was followed to its end."""

    fid: str
    events: list[dict[str, Any]]

    @property
    def status(self) -> str:
        status: str = self.events[-1]["payload"]["status"]
        return status

    @property
    def result(self) -> Any:
        [payload] = self.of("final")
        return payload

    @property
    def error(self) -> dict[str, Any]:
        [payload] = self.of("error")
        error: dict[str, Any] = payload
        return error

    def of(self, kind: str) -> list[Any]:
        return [event["payload"] for event in self.events if event["kind"] == kind]


def _functions(code: str) -> list[str]:
    import ast

    return [
        node.name
        for node in ast.parse(code).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not node.decorator_list
    ]


def calm_s() -> float:
    """Return the time of a clock that stands still while something waits for a core (seconds).

    What may take so long at most is measured by it: how busy a machine is says nothing of koco.
    """
    now = time.monotonic()
    try:
        pressure = Path("/proc/pressure/cpu").read_text()
    except OSError:  # Linux has it since 4.20, if it is not turned off
        return now
    return now - int(pressure.partition("total=")[2].split()[0]) / 1e6


def eventually(claim: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:
    """Return what `claim` returns once it is true; exceptions of a dead server count as false."""
    deadline, last = calm_s() + within_s, time.monotonic() + max(within_s, PATIENCE_S)
    while True:
        with contextlib.suppress(httpx.HTTPError, AssertionError):
            if value := claim():
                return value
        assert calm_s() < deadline and time.monotonic() < last, f"not within {within_s} s"
        time.sleep(0.02)


def kill9(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def zipped(files: dict[str, str]) -> tuple[bytes, str]:
    """Return a bundle made by hand, and its SHA-256."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def koco_of_its_own() -> Iterator[Koco]:
    """A home without anything running; what is started for it is stopped."""
    koco = Koco()
    try:
        yield koco
    finally:
        koco.close()


#: Of so many answers the 99th percentile says something.
_ENOUGH = 150


class Others:
    """Somebody else who asks all the while, before an attack and during it."""

    def __init__(self, koco: Koco, path: str) -> None:
        self._path = path
        #: How long each answer took (seconds).
        self.took: list[float] = []
        with koco.http() as admin:
            body = {"name": f"others-{time.time_ns()}", "scopes": ["read", "launch"]}
            key = admin.post("/v1/keys", json=body).json()["secret"]
        self._client = koco.http(headers={"Authorization": f"Bearer {key}"})
        self._is_over = threading.Event()
        self._usual: list[float] = []
        self._ask(self._usual, _ENOUGH)

    def _ask(self, took: list[float], count: float = math.inf) -> None:
        while len(took) < count and not self._is_over.is_set():
            began = time.monotonic()
            answer = self._client.get(self._path)
            assert answer.status_code == 200, answer.text
            took.append(time.monotonic() - began)
            self._is_over.wait(0.002)

    def ask_on(self) -> None:
        """Ask until it is over."""
        self._ask(self.took)

    @property
    def has_enough(self) -> bool:
        """Whether it has asked often enough for a percentile."""
        return len(self.took) >= _ENOUGH

    def end(self) -> None:
        """Ask no more."""
        self._is_over.set()

    def were_served(self, within_s: float = 0.5) -> None:
        """Expect that the attack has added so little to the 99th percentile of others' answers.

        The bar is half of that, alone on two cores, which these tests share with another cluster.
        More is let pass where the machine is slow by itself.
        """
        assert self.has_enough, len(self.took)
        usual, now = _p99(self._usual), _p99(self.took)
        assert now - usual < max(within_s, 5 * usual), f"{now:.3f} s, {usual:.3f} s before"


def _p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


@contextlib.contextmanager
def others(koco: Koco, path: str = "/v1/executions?limit=1") -> Iterator[Others]:
    """Ask for a path all the while, by a key of its own."""
    asking = Others(koco, path)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(asking.ask_on)
        try:
            yield asking
        finally:
            asking.end()
            asked.result()
