"""A flow that would give its tracer to a Ray task."""

import inspect

import pytest

from koco import Tracer, testing
from koco.errors import UsageError


def test_a_tracer_that_cannot_travel_says_so() -> None:
    """Ray replaces a `TypeError` by a report of its own, so it is another error."""
    from ray import cloudpickle

    with pytest.raises(UsageError, match="call the task's function itself"):
        cloudpickle.dumps({"tracer": testing.Tracer()})


def test_all_attributes_of_a_tracer_can_be_read() -> None:
    """Also outside of a step: Ray reads those of what it cannot pickle, and so do debuggers."""

    def flow(tracer: Tracer) -> list[str]:
        return [name for name, _ in inspect.getmembers(tracer)]

    assert "fid" in testing.run(flow).result
