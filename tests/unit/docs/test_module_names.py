"""Docs, docstrings and comments name modules and their members as they are called now."""

import re
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

#: Files, not modules.
_FILES = {"koco.toml", "koco.yaml", "koco.schema.json"}
#: Attributes of spans, not modules.
_SPANS = (ROOT / "koco/control/tracing/spans.py").read_text("utf-8")
_ATTRIBUTES = set(re.findall(r'"(koco(?:\.\w+)+)"', _SPANS))


def names_in(path: Path) -> set[str]:
    """Return the dotted names of koco's modules and members that a text has in backticks."""
    found = set(re.findall(r"`(koco(?:\.\w+)+)(?:\(\))?`", path.read_text("utf-8")))
    return found - _FILES - _ATTRIBUTES


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or a member that its module's source mentions."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        source = place.with_suffix(".py")
        if place.is_dir():
            source = place / "__init__.py"
        if source.is_file():
            members = parts[count:]
            text = source.read_text("utf-8")
            return all(re.search(rf"\b{member}\b", text) for member in members)
    return False


@pytest.mark.parametrize(
    ("folder", "pattern", "many"), [("docs", "*.md", 90), ("koco", "**/*.py", 60)]
)
def test_every_named_module_exists(folder: str, pattern: str, many: int) -> None:
    """A module that moved leaves no former name behind."""
    named = [(path, name) for path in (ROOT / folder).glob(pattern) for name in names_in(path)]
    assert len(named) > many
    gone = [f"{path.relative_to(ROOT)}: {name}" for path, name in named if not exists(name)]
    assert gone == []


def test_every_path_in_the_architecture_exists() -> None:
    """Also where the map and the walks name files by their paths."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    paths = set(re.findall(r"`((?:koco|tests|templates|examples)/[\w/.]+)`", page))
    assert len(paths) > 30
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_a_former_name_is_noticed() -> None:
    """The test above can fail."""
    assert exists("koco.store.locks.Locks.open")
    assert not exists("koco.store.sqlite.schema")
    assert not exists("koco.store.locks.SqliteLocks")
