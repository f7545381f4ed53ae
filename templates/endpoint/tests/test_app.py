"""The endpoint and its flow in this process, without Ray and without a server."""

import pytest
from koco import InputsError, testing
from __PACKAGE__.app import app
from __PACKAGE__.review import LONGEST

INPUTS = {"title": "Hymn", "text": "To the night"}


def review(answer):
    return testing.run(testing.submit(app, INPUTS, "/review"), answers={"approval": answer})


def test_it_publishes_what_was_approved():
    outcome = review({"verdict": "publish"})
    assert outcome.status == "finished"
    assert outcome.result["body"] == "# Hymn\n\nTo the night\n\n*tester*"


def test_a_rejection_needs_a_reason():
    # The first answer is refused, so the lock stays open for the second.
    outcome = review([{"verdict": "reject"}, {"verdict": "reject", "why": "too short"}])
    assert outcome.result["body"] == "*Hymn* was rejected: too short"


def test_it_refuses_long_documents():
    with pytest.raises(InputsError, match=f"at most {LONGEST} words"):
        testing.submit(app, INPUTS | {"text": "word " * (LONGEST + 1)}, "/review")
