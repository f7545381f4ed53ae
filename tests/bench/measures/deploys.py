"""Deploys: what changes nothing, one file, a step back, and fifty services at once."""

import contextlib
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.bench import baselines
from tests.bench.measures import Bench
from tests.bench.plane import FLOWS, manifest, temporary
from tests.bench.report import Row

_KOCO = str(Path(sys.executable).parent / "koco")

#: What `koco deploy` imports, and so waits for, whatever it does.
_IMPORTS = "import httpx, pydantic, yaml, pathspec, typer"

#: How long a person edits until the next save (seconds). Meanwhile `koco dev` is at rest, and the
#: runner of the next release starts.
_EDIT_S = 5

#: Services in one deploy.
_MANY = 50


def unchanged(bench: Bench) -> Iterator[Row]:
    """Deploy what is live already."""
    with temporary() as root:
        project = _projects(root, ["same"])
        _in_plane(bench, project, "deploy")
        times = [_in_plane(bench, project, "deploy") for _ in range(bench.some(20))]
        bare = [_bare_imports_s() for _ in times]
    yield Row(
        name="unchanged",
        measure="unchanged deploy, `koco deploy`",
        value=statistics.median(times),
        unit="s",
        baseline=statistics.median(bare),
        against="Python with the same imports",
        more={"worst": max(times)},
    )


def redeploy(bench: Bench) -> Iterator[Row]:
    """Change one file and deploy, again and again; against a bare actor with a new bundle."""
    plane, count = bench.plane, 3 if bench.quick else 7
    bench.service("one")
    api = [plane.deploy("one", extra=b"\n# " + secrets.token_hex(8).encode()) for _ in range(count)]
    with temporary() as root:
        project = _projects(root, ["changing"])
        _in_plane(bench, project, "deploy")
        cli = []
        for _ in range(count):
            _change(project / "changing")
            cli.append(_in_plane(bench, project, "deploy"))
    yield Row(
        name="redeploy",
        measure="one-file redeploy to ready, `koco deploy`",
        value=statistics.median(cli),
        unit="s",
        bar=2,
        baseline=statistics.median(_bare(bench)["fresh"]),
        against="bare actor, new bundle",
        more={"worst": max(cli), "over the API": statistics.median(api)},
    )


def dev(bench: Bench) -> Iterator[Row]:
    """Save one file while `koco dev` runs, again and again, until the change can be launched."""
    count = 3 if bench.quick else 7
    with temporary() as root:
        project = _projects(root, ["saved"])
        with _running_dev(project) as lines:
            _until_live(lines)
            times = []
            for _ in range(count):
                time.sleep(_EDIT_S)
                begin = time.perf_counter()
                _change(project / "saved")
                _until_live(lines)
                times.append(time.perf_counter() - begin)
    yield Row(
        name="dev",
        measure="save to launchable, `koco dev`",
        value=statistics.median(times),
        unit="s",
        bar=1,
        baseline=statistics.median(_bare(bench)["fresh"]),
        against="bare actor, new bundle",
        more={"worst": max(times)},
    )


@contextlib.contextmanager
def _running_dev(project: Path) -> Iterator[Iterator[str]]:
    """Run `koco dev` in a project; give what it says, and end it."""
    process = subprocess.Popen(
        [_KOCO, "dev"], cwd=project, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        yield iter(process.stderr)
    finally:
        process.terminate()
        process.communicate()


def _until_live(lines: Iterator[str]) -> None:
    for line in lines:
        if "  live  " in line:
            return
    raise RuntimeError("koco dev has ended")


def rollback(bench: Bench) -> Iterator[Row]:
    """Go back to the former release, to and fro; against a bare actor with a known bundle."""
    with temporary() as root:
        project = _projects(root, ["back"])
        for _ in range(2):
            _change(project / "back")
            _in_plane(bench, project, "deploy")
        times = [_in_plane(bench, project, "rollback", "back") for _ in range(bench.some(9))]
    yield Row(
        name="rollback",
        measure="rollback to ready, `koco rollback`",
        value=statistics.median(times),
        unit="s",
        baseline=statistics.median(_bare(bench)["known"]),
        against="bare actor, known bundle",
        more={"worst": max(times)},
    )


def fifty(bench: Bench) -> Iterator[Row]:
    """Deploy fifty services at once, each with its bundle; then plan and deploy them unchanged."""
    names = [f"many-{number}" for number in range(_MANY)]
    bare = baselines.run("bundled", bench.plane.address, 0, _MANY)["fleet"]
    with temporary() as root:
        project = _projects(root, names, runner={"idle_timeout": 1})
        took = _in_plane(bench, project, "deploy")
        again = _in_plane(bench, project, "deploy")
        plans = [_in_plane(bench, project, "plan") for _ in range(3)]
        for name in names:
            _in_plane(bench, project, "undeploy", name, "--yes")
    yield Row(
        name="fifty",
        measure=f"{_MANY} services in one `koco deploy`, to ready",
        value=took,
        unit="s",
        baseline=bare,
        against=f"{_MANY} bare actors, new bundles",
        more={"again, unchanged": again},
    )
    yield Row(
        name="plan",
        measure=f"`koco plan` of {_MANY} services, unchanged",
        value=statistics.median(plans),
        unit="s",
        baseline=statistics.median(_bare_imports_s() for _ in range(5)),
        against="Python with the same imports",
    )


def _bare(bench: Bench) -> dict[str, Any]:
    """Return what a bare actor with a bundle takes, measured once."""
    if "bundled" not in bench.notes:
        rounds = 3 if bench.quick else 7
        bench.notes["bundled"] = baselines.run("bundled", bench.plane.address, rounds, 0)
    found: dict[str, Any] = bench.notes["bundled"]
    return found


def _bare_imports_s() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
    return time.perf_counter() - begin


def _projects(root: Path, names: list[str], *, runner: dict[str, Any] | None = None) -> Path:
    """Write a project with a folder for each service, whose files differ."""
    for name in names:
        (root / name).mkdir()
        shutil.copy(FLOWS, root / name)
        _change(root / name)
        (root / name / "koco.yaml").write_text(yaml.safe_dump(manifest(name, runner or {})))
    (root / "koco.toml").write_text('[project]\nname = "bench"\nmanifests = ["*/koco.yaml"]\n')
    return root


def _change(folder: Path) -> None:
    with (folder / FLOWS.name).open("a") as file:
        file.write(f"\n# {secrets.token_hex(8)}")


def _in_plane(bench: Bench, project: Path, *args: str) -> float:
    """Run a command of koco's against the bench's control plane; return how long it took."""
    assert bench.plane
    begin = time.perf_counter()
    done = subprocess.run(
        [_KOCO, *args], env=os.environ, cwd=project, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"koco {' '.join(args)}: {done.returncode}\n{done.stderr[-2000:]}")
    return took
