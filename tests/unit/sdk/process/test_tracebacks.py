"""Exceptions of a user's code, as an `error` payload that can always be encoded."""

import json

from koco import Tracer, step, testing
from koco.sdk.process.tracebacks import describe


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")


def test_a_very_long_message_is_cut_in_the_middle() -> None:
    """Message and traceback keep their beginning and end, and say how much is missing."""
    found = describe(ValueError("a" * 10_000_000 + "z"))
    assert len(json.dumps(found)) < 200_000
    assert found["message"].startswith("aaa")
    assert found["message"].endswith("z")
    assert "9,934,465 characters cut" in found["message"]


def test_invalid_messages_are_handled() -> None:
    """Surrogates are escaped, and a failing `__str__` is reported."""
    assert describe(ValueError("\ud800"))["message"] == "\\ud800"
    assert describe(MuteError())["message"] == "<its str raised RuntimeError>"


def test_the_frames_that_call_a_step_are_left_out() -> None:
    """Between the author's; the last frame stays, whosever it is."""

    @step(retries=1, backoff_s=0)
    def fetch() -> None:
        raise ValueError("no")

    async def flow(inputs: dict[str, str], tracer: Tracer) -> None:
        await tracer.step("again", fetch)

    outcome = testing.run(flow)
    assert outcome.error is not None
    lines = outcome.error["traceback"].splitlines()
    assert [line.rpartition(" in ")[2] for line in lines if " in " in line] == ["flow", "fetch"]
    assert "ValueError: no" in lines  # after it comes the note with the frames of the step
