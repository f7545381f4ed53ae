"""An API with flows for Masumi."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mip003 import Agents, serving_agents


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    """Serve flows over MIP-003."""
    with serving_agents(tmp_path) as found:
        yield found
