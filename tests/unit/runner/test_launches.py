"""Launches that a runner gets twice, in the wrong order, or does not understand."""

import subprocess
import sys

import pytest

from tests.support.checkout import ROOT


@pytest.mark.parametrize("concurrency", [1, 10])
@pytest.mark.parametrize("scenario", ["twice", "not_understood", "cancelled_before"])
def test_what_becomes_of_a_launch(scenario: str, concurrency: int) -> None:
    """See the scenario of that name in `tests.support.launch_programs`."""
    run(scenario, concurrency)


@pytest.mark.parametrize("concurrency", [1, 10])
def test_an_execution_leaves_nothing_to_the_garbage_collector(concurrency: int) -> None:
    """See the scenario of that name in `tests.support.launch_programs`."""
    run("leaves_no_garbage", concurrency)


def run(scenario: str, concurrency: int) -> None:
    """Run a scenario in a process of its own."""
    command = [sys.executable, "-m", "tests.support.lone_runner"]
    done = subprocess.run(
        [*command, "tests.support.launch_programs", scenario, str(concurrency)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
