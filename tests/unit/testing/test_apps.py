"""Tests of a service with an app: what `submit` returns is run, with the app's locks."""

import datetime as dt
import os
from typing import Any

import fastapi
import pytest

from koco import Launch, ServeAPI, testing
from koco import forms as F  # noqa: N812 - as services import it
from koco.errors import InputsError, UsageError
from koco.kodosumi import error
from koco.kodosumi import forms as K  # noqa: N812
from koco.kodosumi.launch import Launch as KodosumiLaunch
from koco.kodosumi.serve import ServeAPI as KodosumiAPI
from koco.testing import Tracer

KODOSUMIS = KodosumiAPI()
OWN = ServeAPI()


async def review(inputs: Any, tracer: Any) -> Any:
    answer = await tracer.lock("review", {"title": inputs["topic"]})
    return {"answer": answer, "fid": os.environ["KODOSUMI_FID"], "mine": tracer.fid}


@KODOSUMIS.enter("/", K.Model(K.InputText(name="topic", value="x")))
async def enter(request: fastapi.Request, inputs: Any) -> KodosumiLaunch:
    return KodosumiLaunch(request, review, inputs=inputs)


@KODOSUMIS.enter("/closure", K.Model())
async def enter_closure(request: fastapi.Request, inputs: Any) -> KodosumiLaunch:
    return KodosumiLaunch(request, lambda inputs: [*sorted(inputs), "c"], inputs={"b", "a"})


@KODOSUMIS.lock("review")
async def form(data: Any) -> K.Model:
    return K.Model(K.Checkbox(name="accurate", option=data["title"]), K.InputText(name="why"))


@KODOSUMIS.lease("review")
async def reviewed(request: fastapi.Request, inputs: Any) -> Any:
    if inputs["why"] == "break":
        raise ValueError("broken")
    if not inputs["accurate"]:
        raise error.InputsError(accurate="must be confirmed")
    return {"approved": True, "by": request.state.user, "why": inputs["why"]}


def print_it(inputs: dict[str, Any], tracer: Tracer) -> Any:
    return [inputs["title"], tracer.lock_sync("day"), tracer.lock_sync("other")]


@OWN.enter("/", [F.InputText(name="title")])
def enter_own(request: fastapi.Request, inputs: Any) -> Launch:
    return Launch(request, print_it, inputs=inputs)


@OWN.lock("day")
def day() -> F.Model:
    return F.Model(F.InputDate(name="on", required=True))


@OWN.lease("day")
def chosen(inputs: Any) -> Any:
    return inputs["on"] + dt.timedelta(days=1)


def launch() -> Any:
    return testing.submit(KODOSUMIS, {"topic": "x"})


def test_a_launch_is_run_with_the_apps_locks() -> None:
    """The flow gets the result of the lease, as it does when it is deployed."""
    answer = {"accurate": "on", "more": 1}
    outcome = testing.run(launch(), answers={"review": answer})
    assert outcome.error is None
    assert outcome.result["answer"] == {"approved": True, "by": "tester", "why": None}
    [lease] = outcome.of_kind("lease")
    assert lease["answer"] == outcome.result["answer"]


def test_the_app_may_be_named() -> None:
    """If the flow is called without its handler."""
    answers = {"review": {"accurate": "on", "why": "good"}}
    bare = testing.run(review, {"topic": "x"}, kodosumi=True, answers=answers)
    assert bare.result["answer"] == answers["review"]
    for app in (KODOSUMIS, f"{__name__}:KODOSUMIS"):
        done = testing.run(review, {"topic": "x"}, app=app, kodosumi=True, answers=answers)
        assert done.result["answer"]["why"] == "good"


def test_a_refused_answer_leaves_the_lock_open() -> None:
    """The next one of a list is given; without one, the test fails with the app's message."""
    outcome = testing.run(launch(), answers={"review": [{}, {"accurate": "on"}]})
    assert outcome.result["answer"]["approved"] is True
    for refused in ({"accurate": True}, [{}, {}]):
        with pytest.raises(AssertionError, match=r"'review' refuses .*accurate: must be confirmed"):
            testing.run(launch(), answers={"review": refused})


def test_a_lease_that_fails_fails_the_test() -> None:
    """With its traceback."""
    with pytest.raises(AssertionError, match="ValueError: broken") as caught:
        testing.run(launch(), answers={"review": {"why": "break"}})
    assert "in reviewed" in str(caught.value)


def test_closures_and_any_inputs_are_run() -> None:
    """As an app in Kodosumi's model launches them."""
    assert testing.run(testing.submit(KODOSUMIS, path="/closure")).result == ["a", "b", "c"]


def test_own_apps_are_run_in_the_same_way() -> None:
    """Their forms check, dates stay dates, and a lock without a handler gets the answer itself."""
    ordered = testing.submit(OWN, {"title": "x"})
    outcome = testing.run(ordered, answers={"day": {"on": "2026-01-31"}, "other": [7]})
    assert outcome.result == ["x", "2026-02-01", 7]
    with pytest.raises(AssertionError, match="'day' refuses the test's answer: on: "):
        testing.run(ordered, answers={"day": {"on": "never"}, "other": 7})
    with pytest.raises(InputsError):
        testing.submit(OWN, {"titel": "x"})


def test_the_environment_names_the_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it runs; a test's own value is kept."""
    answers = {"review": {"accurate": "on"}}
    result = testing.run(launch(), answers=answers).result
    assert result["fid"] == result["mine"]
    assert "KODOSUMI_FID" not in os.environ
    monkeypatch.setenv("KODOSUMI_FID", "mine")
    assert testing.run(launch(), answers=answers).result["fid"] == "mine"
    assert os.environ["KODOSUMI_FID"] == "mine"


def test_a_handler_is_no_flow() -> None:
    """The hint names the function that calls it."""
    with pytest.raises(UsageError, match="enter asks for `request`") as caught:
        testing.run(f"{__name__}:enter", {"topic": "x"}, kodosumi=True)
    assert "testing.submit" in str(caught.value.hint)
    with pytest.raises(UsageError, match="the launch has its inputs"):
        testing.run(launch(), {"topic": "y"})
