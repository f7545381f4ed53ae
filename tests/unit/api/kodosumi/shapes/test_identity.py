"""Ids of users in Kodosumi's form."""

from pathlib import Path

from koco.api.kodosumi.shapes import identity


def test_the_documented_formula_is_used() -> None:
    """Services have names, clients ids, so both must be able to find the other."""
    docs = Path(__file__).parents[5] / "docs/kodosumi.md"
    assert f'uuid.uuid5(uuid.UUID("{identity._NAMESPACE}"), name)' in docs.read_text("utf-8")
    assert identity.role_id("ada") == identity.role_id("ada") != identity.role_id("bob")
