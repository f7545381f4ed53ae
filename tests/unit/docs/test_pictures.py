"""The pictures of the README: made by a script, small, and of no machine in particular."""

import re
import socket
from xml.etree import ElementTree

import pytest

from tests.support.checkout import ROOT

README = (ROOT / "README.md").read_text("utf-8")
PICTURES = ROOT / "docs" / "pictures"
_IMAGE = re.compile(r"!\[([^\]]+)\]\((docs/pictures/[\w-]+\.svg)\)")
_SVG = "{http://www.w3.org/2000/svg}"


def test_the_readme_shows_every_picture_that_is_there() -> None:
    """Each with words for those who do not see it."""
    named = {path for _, path in _IMAGE.findall(README)}
    assert len(named) >= 5
    assert named == {f"docs/pictures/{each.name}" for each in PICTURES.glob("*.svg")}


def test_the_script_makes_each_of_them() -> None:
    """By its name."""
    script = (PICTURES / "make.py").read_text("utf-8")
    for each in PICTURES.glob("*.svg"):
        assert f'"{each.stem}": ' in script


@pytest.mark.parametrize("name", [each.name for each in sorted(PICTURES.glob("*.svg"))])
def test_a_picture_is_well_formed_and_needs_nothing_from_elsewhere(name: str) -> None:
    """It has text, no script and no address, and names no machine, user or directory."""
    text = (PICTURES / name).read_text("utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{_SVG}svg"
    assert root.get("aria-label")
    assert len(list(root.iter(f"{_SVG}text"))) > 10
    assert {each.tag.removeprefix(_SVG) for each in root.iter()} <= {
        *("svg", "style", "rect", "circle", "text")
    }
    assert not re.search(r"(?:href|src|url\()", text)
    shown = "".join(root.itertext())
    for each in ("/tmp/", "/home/", "/root", "/work", socket.gethostname()):
        assert each not in shown
    assert len(text) < 40_000
