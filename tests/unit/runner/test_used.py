"""A runner says what each of its executions has used."""

import subprocess
import sys
import time

import pytest

from koco.events.used import Used
from koco.runner.process.meter import Meter
from tests.support.checkout import ROOT


@pytest.mark.parametrize(
    ("scenario", "concurrency"), [("alone", 1), ("together", 10), ("again", 1), ("meanwhile", 1)]
)
def test_what_an_execution_uses(scenario: str, concurrency: int) -> None:
    """See the scenario of that name in `tests.support.used_programs`."""
    command = [sys.executable, "-m", "tests.support.lone_runner"]
    done = subprocess.run(
        [*command, "tests.support.used_programs", scenario, str(concurrency)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_memory_of_the_program_that_started_a_runner_does_not_count() -> None:
    """Linux hands it on to `getrusage` of the program that is started."""
    inner = (
        "from koco.runner.process.meter import Meter; "
        "meter = Meter(dedicated=True, loop_clock=lambda: 0.0); "
        "gauge = meter.begin(None, thread_cpu_s=None, ray_tasks=lambda: 0); "
        "print(gauge.read().peak_memory_bytes)"
    )
    outer = (
        "import subprocess, sys; block = bytearray(300_000_000); "
        "subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    )
    command = [sys.executable, "-c", outer, inner]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert 1_000_000 < int(done.stdout) < 200_000_000


def test_times_are_added_and_the_highest_memory_counts() -> None:
    """Attempts come one after the other, each in a process of its own."""
    first = Used(wall_s=1.5, cpu_s=0.5, peak_memory_bytes=200, ray_tasks=2)
    second = Used(wall_s=1.0, cpu_s=0.25, peak_memory_bytes=100, ray_tasks=1)
    assert first.plus(second) == Used(wall_s=2.5, cpu_s=0.75, peak_memory_bytes=200, ray_tasks=3)


@pytest.mark.parametrize("odd", [-1.0, float("nan"), float("inf"), 1e300])
def test_impossible_numbers_are_seen(odd: float) -> None:
    """A service's own code could send them."""
    assert Used().is_sound
    assert not Used(cpu_s=odd).is_sound


def test_a_flow_that_replaces_clocks_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the clocks as they were. A count that is impossible all the same is left out."""
    meter = Meter(dedicated=True, loop_clock=lambda: 0.0)
    gauge = meter.begin(None, thread_cpu_s=None, ray_tasks=lambda: 0)
    odd = meter.begin(Used(wall_s=2.0), thread_cpu_s=None, ray_tasks=lambda: -5)
    for name in ("time", "monotonic", "process_time", "thread_time"):
        monkeypatch.setattr(time, name, lambda: -1e6)
    assert 0 <= gauge.read().wall_s < 60
    assert 0 <= gauge.read().cpu_s < 60
    assert odd.read() == Used(wall_s=2.0)
