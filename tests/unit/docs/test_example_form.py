"""The example `form`: its manifest has every property of forms."""

import pytest

from koco import forms as F  # noqa: N812
from koco import testing
from koco.manifest.load import load
from tests.support.checkout import ROOT

MANIFEST = ROOT / "examples" / "form" / "koco.yaml"


def test_the_example_has_every_element() -> None:
    """So it documents all of them."""
    inputs = load(MANIFEST).flows[0].inputs or ()
    assert {each["type"] for each in inputs} == set(F.TYPES)


def test_the_flow_gets_typed_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The returned table names the type of each value and omits the secret."""
    monkeypatch.syspath_prepend(MANIFEST.parent)
    form = list(load(MANIFEST).flows[0].inputs or ())
    inputs = {"topic": "Rivers", "code": "a-secret-code", "hour": "09:15", "seats": "1"}
    outcome = testing.run("registration:register", inputs, form=form)
    assert outcome.status == "finished"
    body = outcome.result["body"]
    assert "a-secret-code" not in body
    assert "| day | date | 2027-06-02 |" in body
    assert "| hour | time | 09:15:00 |" in body
    assert "| seats | int | 1 |" in body
    assert "| code | str | 13 characters |" in body
