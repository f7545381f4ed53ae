"""Bodies: several parts become lines, and a list counts as its parts."""

import pytest

from koco import response as own
from koco.kodosumi import dtypes, response


def test_parts_become_lines() -> None:
    """A single list counts as its parts, which may be of any type."""
    assert response.Markdown("# A", 3).body == "# A\n3"
    assert response.HTML(["<p>", 3]).body == "<p>\n3"
    assert response.Text("a").body == "a"
    assert response.Text().body == ""
    assert isinstance(response.Markdown("x"), dtypes.Markdown)


def test_refuses_a_single_part_of_another_type() -> None:
    """As Kodosumi does."""
    with pytest.raises(ValueError, match="takes text or a list of texts, not one int"):
        response.Markdown(3)


def test_the_payload_is_that_of_kocos_own_bodies() -> None:
    """So `koco result` and `koco logs` show them."""
    for name in ("Markdown", "HTML", "Text"):
        mine, theirs = getattr(response, name)("x"), getattr(own, name)("x")
        assert mine.to_payload() == theirs.to_payload()
