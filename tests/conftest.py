"""One real cluster for all tests that need one; it starts when the first of them does."""

import signal
from collections.abc import Iterator

import pytest

from tests.driver import Koco, koco_of_its_own

# A shell that runs tests in the background has them ignore Ctrl-C, and every process that they
# start; some of them are there to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def koco() -> Iterator[Koco]:
    """A running koco on a Ray of its own, on free ports, in a temporary home."""
    with koco_of_its_own() as koco:
        yield koco.up()


@pytest.fixture
def fresh() -> Iterator[Koco]:
    """A koco of this test's own, with nothing running yet."""
    with koco_of_its_own() as koco:
        yield koco
