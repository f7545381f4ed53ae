"""docs/approvals.md: its code does what the page says, its form is one."""

import re

import pytest
import yaml

from koco import testing
from koco.forms import Model
from tests.support import pages
from tests.support.checkout import ROOT

PAGE = pages.module("approvals")
TEXT = (ROOT / "docs/approvals.md").read_text("utf-8")


def test_the_flow_and_its_tests_run() -> None:
    """Approved, rejected by what the person sees, and ignored."""
    assert PAGE.approved() == "published"
    assert PAGE.rejected("too bad") == "rejected: too bad"
    assert PAGE.rejected("") == "rejected: no reason given"
    assert PAGE.ignored() == "TimeoutError"


def test_the_manifests_form_gives_what_the_flow_reads() -> None:
    """The fields on the page are the ones that the flow looks at."""
    [block] = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)
    form = Model.from_list(yaml.safe_load(block)["locks"]["review"])
    answer = form.validate({"ok": "no", "why": "late"})
    outcome = testing.run(PAGE.publish, {"text": "x"}, answers={"review": answer})
    assert outcome.result == "rejected: late"


def several(tracer: testing.Tracer) -> list[object]:
    return [tracer.lock_sync("a", number) for number in range(3)]


def test_answers_are_given_in_turn_and_as_json() -> None:
    """A list is taken one after the other; the stream has locks and leases."""
    outcome = testing.run(several, answers={"a": [None, {"x": (1, 2)}, ValueError("no")]})
    assert outcome.error is not None
    assert outcome.error["message"] == "no"
    assert [each["data"] for each in outcome.of_kind("lock")] == [0, 1, 2]
    assert [each.get("answer") for each in outcome.of_kind("lease")] == [None, {"x": [1, 2]}, None]


@pytest.mark.parametrize("answers", [{}, {"a": [1, 2]}, {"b": 1}])
def test_a_lock_without_an_answer_fails_the_test(answers: dict[str, object]) -> None:
    """Also where the flow would swallow it."""

    def swallows(tracer: testing.Tracer) -> None:
        try:
            several(tracer)
        except BaseException:  # noqa: BLE001 - what is tested
            return

    with pytest.raises(AssertionError, match="no answer for the lock 'a'"):
        testing.run(swallows, answers=answers)


@pytest.mark.parametrize(
    ("name", "timeout"),
    [
        ("a b", None),
        ("", None),
        (None, None),
        ("a", -1),
        ("a", float("nan")),
        ("a", "3"),
        ("a", True),
    ],
)
def test_what_makes_no_sense_is_an_error_in_the_flow(name: str, timeout: float) -> None:
    """Before anybody is asked."""

    def asks(tracer: testing.Tracer) -> None:
        tracer.lock_sync(name, timeout=timeout)

    outcome = testing.run(asks, answers={"a": 1})
    assert outcome.error is not None
    assert outcome.error["type"].endswith("UsageError")
    assert outcome.of_kind("lock") == []


def test_data_that_is_no_json_is_kept_as_its_repr() -> None:
    """It never fails the flow."""

    class Odd:
        def model_dump(self, mode: str) -> None:
            raise RuntimeError

        def __repr__(self) -> str:
            return "odd"

    def asks(tracer: testing.Tracer) -> object:
        return tracer.lock_sync("a", Odd())

    outcome = testing.run(asks, answers={"a": lambda data: data["$repr"]})
    assert outcome.result == "odd"
