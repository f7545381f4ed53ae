"""The flow in this process: its tasks are called as the plain functions they are."""

import pytest
from koco import testing
from __PACKAGE__ import app
from __PACKAGE__.work import count_primes, split


@pytest.mark.parametrize(("limit", "slices"), [(10, 3), (3, 10), (1, 1), (0, 4)])
def test_slices_cover_everything_once(limit, slices):
    parts = split(limit, slices)
    assert [number for part in parts for number in part] == list(range(limit))
    assert len(parts) <= slices


def test_a_slice_reports_its_count():
    tracer = testing.Tracer()
    assert count_primes(range(10, 20), tracer) == 4
    assert tracer.events[0].kind == "result"
    assert tracer.events[0].payload == {"from": 10, "to": 20, "primes": 4}


def test_the_flow_adds_up(monkeypatch):
    async def call(part, tracer):
        return count_primes(part, tracer)

    monkeypatch.setattr(app, "start", call)
    outcome = testing.run(app.primes, {"limit": 100, "slices": 4})
    assert outcome.status == "finished"
    assert outcome.result["body"] == "There are **25** primes below 100."
    assert len(outcome.of_kind("result")) == 4
