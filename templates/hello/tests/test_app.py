"""The flow, run in this process, without Ray."""

from koco import testing
from __PACKAGE__.app import greet


def test_it_greets():
    outcome = testing.run(greet, {"who": "Ada", "times": 2})
    assert outcome.status == "finished"
    assert outcome.result == {"type": "markdown", "body": "# Hello, Ada!"}
    assert outcome.of_kind("stdout") == ["Hello, Ada!", "Hello, Ada!"]


def test_it_says_whom_it_greets():
    outcome = testing.run(greet, {"who": "Ada", "times": 1})
    assert outcome.of_kind("debug") == ["greeting Ada"]
