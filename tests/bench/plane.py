"""A koco of the bench's own: free ports, temporary directories, ended by its own mark."""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from koco.bootstrap.local_head import MARK, mark_of
from tests.bench.wire import Wire

FLOWS = Path(__file__).parent / "flows" / "bench_flows.py"
_DURABLE_FLOWS = FLOWS.with_name("durable_flows.py")

#: Services by how they run their executions; each has every flow of `bench_flows`, but `durable`
#: has those of `durable_flows`.
SERVICES: dict[str, dict[str, Any]] = {
    "one": {},  # what a manifest that says nothing gets
    "many": {"concurrency": 100},
    # Ten of them take a thousand; they leave soon after, for the measures that follow.
    "awaiting": {"concurrency": 100, "max": 12, "idle_timeout": 5},
    # From cold: none is kept warm, and the one that the deploy starts leaves soon.
    "each": {"min": 0, "max": 60, "executions": 1, "idle_timeout": 1},
    # A second one is warm if the first dies.
    "durable": {"min": 2, "max": 2, "concurrency": 100},
}

#: Settings of Ray that one may want to measure with and without.
_PASSED_ON = ("RAY_USE_UVLOOP",)

_FLOWS = (
    *("trivial", "hello", "tick", "burst", "bulk"),
    *("sleep", "sleep_sync", "approve", "approve_sync"),
)
_DURABLE = ("one_by_one", "one_by_one_sync", "together", "work", "ask")


def isolated(root: Path) -> dict[str, str]:
    """Return an environment in which koco and Ray know of nothing but what stands in `root`."""
    dropped = ("KOCO_", "RAY_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {
        **kept,
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "KOCO_HOME": str(root / "home"),
        "RAY_TMPDIR": str(root),
        "RAY_AUTH_TOKEN_PATH": str(root / "token"),
    }


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """Give a directory with a short path: Ray's sockets stand in it."""
    root = Path(tempfile.mkdtemp(prefix="kb-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def bundle(service: str, extra: bytes = b"") -> tuple[str, bytes]:
    """Return a service's bundle, by its SHA-256; `extra` makes another one of it."""
    flows = _DURABLE_FLOWS if service == "durable" else FLOWS
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (
            (".koco-bundle.json", b"{}"),
            (flows.name, flows.read_bytes() + extra),
        ):
            archive.writestr(zipfile.ZipInfo(name), content)
    data = buffer.getvalue()
    return hashlib.sha256(data).hexdigest(), data


def manifest(service: str, runner: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a service with every flow."""
    durable = service == "durable"
    names, module = (_DURABLE, _DURABLE_FLOWS) if durable else (_FLOWS, FLOWS)
    flows = [
        {
            "name": name.replace("_", "-"),
            "entrypoint": f"{module.stem}:{name}",
            **({"durable": True} if durable else {}),
        }
        for name in names
    ]
    return {"service": service, "flows": flows, "runner": runner}


class Plane:
    """A control plane over a Ray, both started by `up` and ended by `down`."""

    def __init__(self, root: Path, *, store: str | None = None) -> None:
        self.root = root
        self._store = store
        self._former: dict[str, str] = {}

    def up(self) -> None:
        """Start both; this process's environment is theirs until `down`."""
        from koco.cli.cluster import local

        self._former = dict(os.environ)
        own = isolated(self.root)
        os.environ.clear()
        os.environ.update(own)
        # As fast as can be: the bench asks more often than anybody may who uses it, and does not
        # wait a minute until an execution is parked.
        asked = {"store": self._store} if self._store else {}
        local.up(
            asked,
            free_ports=True,
            recover_admin=bool(self._store),  # which may have seen a bench before
            settings=["key_requests_per_s=0", "park_after=1"],
        )
        self._read_context()

    def _read_context(self) -> None:
        from koco.client import context_file

        context = context_file.load_contexts()["local"]
        self.url, self.key = context.url, context.key
        self.mark = mark_of(context_file.home())
        self.address = str(context.cluster["address"])

    def down(self) -> None:
        """End what `up` started; the store stays."""
        from koco.cli.cluster import local_down

        local_down.down()
        os.environ.clear()
        os.environ.update(self._former)
        self.__dict__.pop("wire", None)

    def connect(self) -> Wire:
        """Return a new connection to the API."""
        return Wire(self.url, self.key)

    @cached_property
    def wire(self) -> Wire:
        """The connection that is used for whatever is not measured."""
        return self.connect()

    def deploy(self, service: str, *, extra: bytes = b"") -> float:
        """Deploy a service; return the seconds until it is live."""
        sha256, data = bundle(service, extra)
        begin = time.perf_counter()
        headers = {"Upload-Offset": "0", "Upload-Length": str(len(data))}
        self.wire.request("PATCH", f"/v1/bundles/{sha256}", data, headers=headers)
        path = f"/v1/services/{service}/releases"
        body = {"manifest": manifest(service, SERVICES[service]), "bundle": sha256}
        release = self.wire.json("POST", path, body)
        while release["status"] == "starting":
            release = self.wire.json("GET", f"{path}/{release['number']}?wait=60")
        if release["status"] != "live":
            raise RuntimeError(f"{service}: {release['status']}: {release['error']}")
        return time.perf_counter() - begin

    def launch(self, wire: Wire, flow: str, **inputs: Any) -> str:
        """Launch a flow; return the fid."""
        fid: str = wire.json("POST", f"/v1/flows/{flow}", inputs)["result"]
        return fid

    def wait_idle(self, *, timeout_s: float = 120.0, poll_s: float = 0.02) -> float:
        """Wait until every execution has ended; return the time at which it was seen."""
        deadline = time.perf_counter() + timeout_s
        while self.wire.json("GET", "/v1/executions?active=1&limit=1")["items"]:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"executions still run after {timeout_s:g} s")
            time.sleep(poll_s)
        return time.perf_counter()

    def pid(self) -> int:
        """Return the control plane's process."""
        pid: int = self.wire.json("GET", "/v1/status")["control_plane"]["pid"]
        return pid

    def processes(self) -> list[psutil.Process]:
        """Return every process of this cluster."""
        return [process for process, _ in _marked(self.mark)]

    def runners(self, service: str) -> list[psutil.Process]:
        """Return the processes of a service's runners."""
        return [p for p, env in _marked(self.mark) if env.get("KOCO_SERVICE") == service]


def _marked(mark: str) -> list[tuple[psutil.Process, dict[str, str]]]:
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
        except (psutil.Error, OSError):
            continue  # gone, or not ours
        if env.get(MARK) == mark:
            found.append((process, env))
    return found
