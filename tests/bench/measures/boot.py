"""From nothing to launchable."""

import secrets
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from koco.bootstrap import local_head
from tests.bench.measures import Bench
from tests.bench.plane import FLOWS, isolated, manifest, temporary
from tests.bench.report import Row

_BIN = Path(sys.executable).parent


def launchable(bench: Bench) -> Iterator[Row]:
    """Start Ray alone, and koco with a deployed service, in turn."""
    count = 1 if bench.quick else 3
    rounds = [(_ray_s(), *_koco_s()) for _ in range(count + 1)][1:]  # the first fills the caches
    ray, up, deploy = (statistics.median(times) for times in zip(*rounds, strict=True))
    yield Row(
        name="boot",
        measure="nothing to launchable: koco up + koco deploy",
        value=statistics.median(sum(times[1:]) for times in rounds),
        unit="s",
        bar=1.6,
        bar_on="ratio",
        baseline=ray,
        against="ray start --head",
        more={"up": up, "deploy": deploy},
    )


def _ray_s() -> float:
    """Return how long Ray's own command takes for a head on free ports."""
    with temporary() as root:
        mark = secrets.token_hex(8)
        ports = local_head.choose_ports({}, free=True)
        env = {**isolated(root), local_head.MARK: mark, "RAY_AUTH_MODE": "token"}
        Path(env["RAY_AUTH_TOKEN_PATH"]).write_text(secrets.token_hex(32))
        command = [
            *(str(_BIN / "ray"), "start", "--head", "--disable-usage-stats"),
            *("--node-ip-address", "127.0.0.1", "--port", str(ports["gcs"])),
            *("--dashboard-port", str(ports["dashboard"])),
            *("--ray-client-server-port", str(ports["api"])),
            *("--dashboard-agent-listen-port", str(ports["agent"])),
        ]
        try:
            return _run_s(command, env, root)
        finally:
            local_head.stop(mark)


def _koco_s() -> tuple[float, float]:
    """Return how long `koco up` and `koco deploy` take in a fresh home."""
    with temporary() as root:
        env = isolated(root)
        project = _project(root / "project")
        try:
            up = _run_s([str(_BIN / "koco"), "up"], env, project)
            return up, _run_s([str(_BIN / "koco"), "deploy"], env, project)
        finally:
            _run_s([str(_BIN / "koco"), "down"], env, project)


def _project(directory: Path) -> Path:
    """Write the bench's flows as a project that `koco deploy` takes."""
    directory.mkdir()
    shutil.copy(FLOWS, directory)
    (directory / "koco.toml").write_text('[project]\nname = "bench"\n')
    (directory / "koco.yaml").write_text(yaml.safe_dump(manifest("bench", {})))
    return directory


def _run_s(command: list[str], env: dict[str, str], directory: Path) -> float:
    begin = time.perf_counter()
    # Into a file: Ray's processes would keep a pipe open. Beside the project, not in its bundle.
    with (directory.parent / "output").open("w+") as output:
        done = subprocess.run(
            command, env=env, cwd=directory, stdout=output, stderr=output, check=False
        )
        took = time.perf_counter() - begin
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{output.read()[-2000:]}")
    return took
