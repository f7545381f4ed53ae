"""Bare Ray actors, each in the environment of a bundle that its node fetches over HTTP.

What a release needs of Ray, without koco: a process that has the bundle's module.
"""

import hashlib
import io
import json
import sys
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray


class Importer:
    """An actor that imports a module of its bundle, as a runner does an entrypoint's."""

    async def look(self) -> int:
        """Import it."""
        import bench_bare

        value: int = bench_bare.VALUE
        return value


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Print how long it took (s): one new bundle, one that is there, and so many new at once."""
    address, rounds, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ray.init(address=address, namespace="bench", log_to_driver=False, configure_logging=False)
    with TemporaryDirectory() as folder:
        handler = partial(_Quiet, directory=folder)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        fresh, known = [], []
        for number in range(rounds):
            bundle = f"{url}/{_bundle(Path(folder), number)}"
            fresh.append(_started_s([bundle]))
            known.append(_started_s([bundle]))
        several = [f"{url}/{_bundle(Path(folder), 1000 + each)}" for each in range(count)]
        fleet = _started_s(several) if several else 0.0
        server.shutdown()
    print(json.dumps({"fresh": sorted(fresh), "known": sorted(known), "fleet": fleet}))


def _bundle(folder: Path, value: int) -> str:
    """Write a bundle; return its name, which is never that of another."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(".root", "")
        archive.writestr("bench_bare.py", f"VALUE = {value}  # {time.time()}\n")
    name = f"{hashlib.sha256(buffer.getvalue()).hexdigest()}.zip"
    (folder / name).write_bytes(buffer.getvalue())
    return name


def _started_s(bundles: list[str]) -> float:
    """Start an actor in each bundle's environment; return when all have imported its module."""
    begin = time.perf_counter()
    actors = [_start(bundle) for bundle in bundles]
    ray.get([actor.look.remote() for actor in actors])
    took = time.perf_counter() - begin
    for actor in actors:
        ray.kill(actor)
    return took


def _start(bundle: str) -> Any:
    # A value of its own, as a release has one: Ray must not take a process that is there.
    env_vars = {"KOCO_BENCH": str(time.time())}
    return (
        ray.remote(Importer)
        .options(
            num_cpus=0,
            lifetime="detached",
            name=f"bench-{time.time_ns()}",
            enable_task_events=False,
            runtime_env={"py_modules": [bundle], "env_vars": env_vars},
        )
        .remote()
    )


if __name__ == "__main__":
    main()
