"""Two control planes of memory, and their contexts."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest

from koco.cli import connection
from koco.client import context_file
from koco.client.context_file import Context
from tests.support.memory_plane import GREET, KEY, Plane, serving


@dataclass(frozen=True)
class Two:
    """The control planes of the contexts `eu` (the current one) and `us`."""

    eu: Plane
    us: Plane


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    """Serve two planes, and save their contexts."""
    for name in ("KOCO_URL", "KOCO_KEY", "KOCO_CONTEXT", "KOCO_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with serving() as eu, serving() as us:
        for name, plane in (("eu", eu), ("us", us)):
            plane.flows["greet"] = deepcopy(GREET)
            context_file.save_context(Context(name, plane.url, KEY), name == "eu")
        yield Two(eu, us)
    connection.choose(None)
