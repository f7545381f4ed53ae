"""docs/forms.md: its code runs, its manifests are forms, its tables are complete."""

import dataclasses
import re

import pytest
import yaml

from koco import forms as F  # noqa: N812
from tests.support import pages
from tests.support.checkout import ROOT

PAGE = ROOT / "docs" / "forms.md"


def blocks(language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_its_code_runs() -> None:
    """Its assertions hold."""
    assert len(blocks("python")) >= 5
    pages.module("forms")


@pytest.mark.parametrize("block", blocks("yaml"))
def test_every_manifest_has_a_form(block: str) -> None:
    """Each has `inputs`, as a flow of a manifest has."""
    assert F.Model.from_list(yaml.safe_load(block)["inputs"]).elements


@pytest.mark.parametrize("kind", list(F.TYPES))
def test_every_property_is_documented(kind: str) -> None:
    """Type, class and properties of each element are on its row of the page."""
    cls = F.TYPES[kind]
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith(f"| `{cls.__name__}`")]
    assert len(rows) == 1, f"one row for {cls.__name__}"
    assert f"`{kind}`" in rows[0]
    own = {prop.name for prop in dataclasses.fields(cls)} - {"name", "label"}
    missing = [name for name in own if f"`{name}`" not in rows[0]]
    assert not missing, f"{cls.__name__} lacks {missing} on the page"


def test_the_terminal_on_the_page_is_what_is_asked() -> None:
    """The lines of a question are those of `koco run`."""
    from koco.cli.inputs import field_limits

    verses = F.InputNumber("verses", "Verses", 3, min_value=1, max_value=9, step=1)
    asked = (
        f"Verses ({', '.join(field_limits.words(verses))}) [{field_limits.format_value(verses, 3)}]"
    )
    assert asked in blocks("text")[0]
