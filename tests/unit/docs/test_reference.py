"""The reference says what there is: kinds of events, statuses, settings, links."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koco.control.settings import Settings
from koco.events.model import Kind, Status
from tests.support.checkout import ROOT

EVENTS = (ROOT / "docs/events.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_event_is_documented(kind: Kind) -> None:
    """Each has its row in the table of docs/events.md."""
    rows = [line for line in EVENTS.splitlines() if line.startswith("|")]
    assert any(f"`{kind}`" in row for row in rows)


@pytest.mark.parametrize("status", list(Status))
def test_every_status_is_documented(status: Status) -> None:
    """Each by its name."""
    assert f"`{status}`" in EVENTS


def test_every_setting_is_documented_with_its_default() -> None:
    """In one table, in their order, and no others."""
    page = (ROOT / "docs/settings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", page, re.MULTILINE)
    defaults = msgspec.to_builtins(Settings())
    assert rows == [(name, _written(value)) for name, value in defaults.items()]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if isinstance(value, list | tuple | str) and not value else f"{value:.10g}"


def test_every_variable_that_is_read_is_documented() -> None:
    """What koco reads from the environment stands in docs/commands.md."""
    source = "".join(path.read_text() for path in (ROOT / "koco").rglob("*.py"))
    read = set(
        re.findall(r'environ(?:\.get\(|\[)"(KOCO_[A-Z_]+)"|env\.get\("(KOCO_[A-Z_]+)"', source)
    )
    names = {name for pair in read for name in pair if name}
    assert names >= {"KOCO_HOME", "KOCO_URL", "KOCO_KEY", "KOCO_CONTEXT"}
    page = (ROOT / "docs/commands.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Relative links name files that exist."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_curl_that_sends_json_says_so(page: Path) -> None:
    """`curl -d` alone sends a form, which the API refuses with 415."""
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^.*\bcurl .*$", text, re.M):
        is_json = re.search(r"(-d|--data)\s+'?\{", line)
        assert not is_json or "application/json" in line, line
