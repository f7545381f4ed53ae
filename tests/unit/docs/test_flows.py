"""docs/flows.md: its flows run as the page says."""

import asyncio
import re

import pytest

from koco import testing
from koco.errors import InputsError
from koco.manifest import load
from koco.sdk.tracer import Tracer
from tests.support import pages
from tests.support.checkout import ROOT

PAGE = pages.module("flows")
TEXT = (ROOT / "docs/flows.md").read_text("utf-8")


def test_the_pages_own_tests_pass() -> None:
    """As a reader would write them."""
    PAGE.test_it_greets()
    PAGE.test_a_part_reports()


def test_a_dataclass_is_the_form() -> None:
    """Its fields are the inputs, typed; what it does not have is refused."""
    given = {"item": "tea", "amount": "2", "due": "2026-01-31"}
    outcome = testing.run(PAGE.order, given)
    assert outcome.result == "2 small tea"
    assert outcome.of_kind("action") == [{"reserve": "tea", "until": "2026-01-31"}]
    with pytest.raises(InputsError, match="size"):
        testing.run(PAGE.order, {"item": "tea", "size": "huge"})


def test_each_method_writes_its_kind() -> None:
    """In order, a warning with its traceback."""
    outcome = testing.run(PAGE.survey, {"topic": "tides"})
    assert [event.kind for event in outcome.events] == [
        *("action", "result", "result", "stderr", "final")
    ]
    assert outcome.of_kind("action") == [["search", {"topic": "tides"}]]
    assert "TimeoutError: the archive" in outcome.of_kind("stderr")[0]


def test_progress_is_written_as_on_the_page() -> None:
    """One event for each call."""
    outcome = testing.run(PAGE.read_all, {"pages": 2})
    assert outcome.of_kind("progress") == [
        {"done": 1, "total": 2, "message": "page 1"},
        {"done": 2, "total": 2, "message": "page 2"},
    ]


def test_the_table_has_every_method_of_the_tracer() -> None:
    """Whatever a flow's author may call stands there, and has its twin."""
    public = {name for name in vars(Tracer) if not name.startswith("_")} - {"fid"}
    methods = {name for name in public if not name.endswith("_sync")}
    assert public == methods | {f"{name}_sync" for name in methods}
    rows = [row for row in TEXT.splitlines() if row.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`(\w+)\(", row.split(" | ")[0])}
    assert methods - {"emit"} <= told
    for name in methods - {"lock", "fs"}:
        assert asyncio.iscoroutinefunction(getattr(Tracer, name))


def test_the_manifests_are_some() -> None:
    """They pass `koco validate`, as far as that needs no files."""
    for block in re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S):
        assert load.parse(block).service
