"""docs/flows.md, "An endpoint of one's own": what it shows works."""

import datetime as dt
from types import ModuleType

import pytest

from koco import InputsError, testing
from koco.manifest import load
from koco.manifest.descriptions import AppHandlers
from koco.sdk.endpoint import serving
from tests.support import pages


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return pages.module("flows")


def test_the_endpoint_launches_what_it_says(page: ModuleType) -> None:
    """Inputs pass the form, the entrypoint is found by its name, and gets its dates."""
    launch = testing.submit(page.app, {"topic": "the sea", "day": "2026-02-03"})
    assert launch.entrypoint == "page_flows:write"
    assert launch.inputs["day"] == dt.date(2026, 2, 3)
    with pytest.raises(InputsError, match="Please give me a topic"):
        testing.submit(page.app, {})
    page.test_it_wants_a_topic()
    page.test_it_writes()


def test_the_app_describes_its_flow_and_its_lock(page: ModuleType) -> None:
    """As the deployer is told of it; the manifest that goes with it is one."""
    about = serving.describe("page_flows:app", "hymn")
    assert [flow.name for flow in about.flows] == ["hymn"]
    assert about.handlers == AppHandlers(locks=("approval",), leases=("approval",))
    assert load.parse("service: hymn\napp: hymn.app:app\n").app == "hymn.app:app"
