"""One real cluster for all tests that need one; it starts when the first of them does."""

import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.support.driver import Koco, koco_of_its_own

# A shell that runs tests in the background has them ignore Ctrl-C, and every process that they
# start; some of them are there to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Each worker, and each of hundreds of processes that tests start, would compile everything anew
# where nothing compiled is kept.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector from thousands of tests and modules, all of which stay.

    Scanning them again and again takes almost half of the collection, in each worker.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


#: The one of `koco`, once it runs.
_running: list[Koco] = []


#: The files that take longest, in seconds on two cores. They start first: a file of minutes that
#: starts last has one core wait for the other.
_LONGEST = {
    "test_endpoints.py": 515,
    "test_up.py": 462,
    "test_hostile_flows.py": 392,
    "test_coming_back.py": 342,
    "test_openapi.py": 336,
    "test_bootstrap.py": 327,
    "test_damage.py": 199,
    "test_nodes.py": 194,
    "test_durable_storm.py": 300,
    "test_small_disk.py": 179,
    "test_scale.py": 75,
    "test_upgrade.py": 155,
    "test_releases.py": 149,
    "test_durable.py": 130,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files on a real Ray first; the order within a file stays."""
    items.sort(key=lambda item: -_seconds(item))


def _seconds(item: pytest.Item) -> int:
    if "unit" in item.path.parts:
        return 0
    return _LONGEST.get(item.path.name, 0)


@pytest.fixture(scope="session")
def koco() -> Iterator[Koco]:
    """A running koco on a Ray of its own, on free ports, in a temporary home."""
    with koco_of_its_own() as koco:
        _running.append(koco.up())
        yield koco


@pytest.fixture(scope="module", autouse=True)
def _clear() -> Iterator[None]:
    """End what a module has deployed: a hundred idle processes would slow down the rest."""
    yield
    for koco in _running:
        koco.clear()


@pytest.fixture
def fresh() -> Iterator[Koco]:
    """A koco of this test's own, with nothing running yet."""
    with koco_of_its_own() as koco:
        yield koco
