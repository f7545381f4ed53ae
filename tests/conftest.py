"""One real cluster for all tests that need one; it starts when the first of them does."""

from collections.abc import Iterator

import pytest

from tests.driver import Koco, koco_of_its_own


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
