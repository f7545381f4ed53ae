"""A new project names the place that koco was installed from, so that `uv sync` finds it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from koco.cli.scaffold import koco_source

COMMIT = "9" * 40
REPOSITORY = "https://example.org/koco.git"


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        (None, None),
        ({"url": "file:///there/is/no/such/koco", "dir_info": {}}, None),
        (
            {"url": "https://example.org/k.whl", "archive_info": {}},
            {"url": "https://example.org/k.whl"},
        ),
        (
            {"url": REPOSITORY, "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            {"git": REPOSITORY, "rev": COMMIT},
        ),
        ({"url": REPOSITORY, "vcs_info": {"vcs": "hg", "commit_id": COMMIT}}, None),
        ({"dir_info": {}}, None),
    ],
)
def test_a_source_is_told_as_uv_wants_it(
    origin: dict[str, Any] | None, source: dict[str, str] | None
) -> None:
    """None where koco is from an index, or its place is gone."""
    found = koco_source.uv_source(origin)
    assert (found and tomllib.loads(f"koco = {found}")["koco"]) == source


def test_a_folder_with_a_space_is_a_path(tmp_path: Path) -> None:
    """A URL has it as `%20`."""
    clone = tmp_path / "my koco"
    clone.mkdir()
    found = koco_source.uv_source({"url": clone.as_uri(), "dir_info": {"editable": True}})
    assert tomllib.loads(f"koco = {found}")["koco"] == {"path": str(clone)}


def test_sources_of_ones_own_stay(tmp_path: Path) -> None:
    """So does a pyproject.toml that does not need koco."""
    own = b'dependencies = ["koco-deploy"]\n[tool.uv.sources]\n'
    assert koco_source.add_to(own) == own
    assert koco_source.add_to(b"[project]\n") == b"[project]\n"
