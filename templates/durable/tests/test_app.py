"""The flow in this process, without Ray: undisturbed, and with a crash after each outcome."""

import pytest
from koco import testing
from __PACKAGE__.app import order

INPUTS = {"item": "Lamp", "count": 2}
GIVEN = {"answers": {"approve": {"ok": True}}, "messages": {"courier": {"name": "Ada"}}}


def test_it_sells():
    outcome = testing.run(order, INPUTS, **GIVEN)
    assert outcome.status == "finished"
    assert outcome.result["body"] == "2 × Lamp from shelf 6: paid 50, with Ada"


def test_it_resumes_anywhere():
    calm = testing.run(order, INPUTS, **GIVEN)
    crashed = testing.run(order, INPUTS, crash_after="*", **GIVEN)
    assert crashed.result == calm.result
    assert crashed.resumed == 5  # reserve, approve, charge, the timer, the courier
    assert all(each.attempt == 1 for each in crashed.steps)


def test_nothing_is_charged_without_an_approval():
    outcome = testing.run(order, INPUTS, answers={"approve": {"ok": False}})
    assert outcome.result["body"] == "2 × Lamp: not approved"
    assert "charge" not in {each.name for each in outcome.steps}


@pytest.mark.parametrize("place", ["reserve", "lock.approve:0", "charge", "sleep:0"])
def test_todays_code_replays_a_history(place):
    """Keep such a history of today's release, `koco steps FID --export FILE`, for tomorrow's."""
    history = testing.run(order, INPUTS, crash_after=place, **GIVEN).history
    assert testing.replays(order, history).next == []
