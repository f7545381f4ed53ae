"""What the command line costs before it does anything.

In CPU time, because on a busy machine the time by the clock says little.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measures import Bench
from tests.bench.meters import Spread
from tests.bench.report import Row

_KOCO = str(Path(sys.executable).with_name("koco"))


def commands(bench: Bench) -> Iterator[Row]:
    """Start the command line and bare Python in turn."""
    plane = bench.plane
    fid = plane.launch(plane.wire, f"{bench.service('one')}/hello")
    plane.wait_idle()
    subjects = {
        "koco --version": ([_KOCO, "--version"], 2.0),
        "koco logs --help": ([_KOCO, "logs", "--help"], 12.0),
        "koco logs FID": ([_KOCO, "logs", fid], 7.0),
        "koco ps": ([_KOCO, "ps"], 7.0),
        "koco dep⇥": ([_KOCO, "__complete", "dep"], 5.0),
        "koco run ⇥": ([_KOCO, "__complete", "run", ""], 5.0),
        "koco logs ⇥": ([_KOCO, "__complete", "logs", ""], 5.0),
    }
    for name, (command, bar) in subjects.items():
        yield _against_python(name, command, bar=bar, count=max(15, bench.some(30)))


def _against_python(name: str, command: list[str], *, bar: float, count: int) -> Row:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    bare = [sys.executable, "-c", "pass"]
    _cpu_ms(command, env)  # writes the bytecode
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        times[0].append(_cpu_ms(bare, env))
        times[1].append(_cpu_ms(command, env))
    python, koco = (Spread.of(samples) for samples in times)
    return Row(
        name="startup",
        measure=f"`{name}`, CPU from start to end",
        value=koco.p50,
        unit="ms",
        bar=bar,
        bar_on="ratio",
        baseline=python.p50,
        against="python -c pass",
    )


def _cpu_ms(command: list[str], env: dict[str, str]) -> float:
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr as stderr:
        said = stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command}: {process.returncode} {said[-500:]!r}")
    return (used.ru_utime + used.ru_stime) * 1e3
