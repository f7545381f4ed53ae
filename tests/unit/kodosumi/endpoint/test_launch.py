"""Launches travel as a name and JSON if they can, and pickled if they cannot."""

import base64
import datetime as dt
import pickle
from typing import Any

import pydantic
import pytest

from koco.errors import UsageError
from koco.forms import json_value_count
from koco.kodosumi import forms as F  # noqa: N812 - as services import it
from koco.kodosumi.endpoint import pickles
from koco.kodosumi.launch import Launch
from koco.tokens import MASK


def run(inputs: Any) -> Any:
    return inputs


class Person(pydantic.BaseModel):
    name: str
    pin: str = "1234"


class Worker:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def work(self, inputs: Any) -> int:
        return int(inputs["n"]) * self.factor

    def __call__(self, inputs: Any) -> int:
        return self.factor


class App:
    """The parts of an app that a launch uses."""

    def __init__(self, model: Any = None) -> None:
        self._code_lookup = {handle.__code__: handle, other.__code__: other}
        self._method_lookup = {
            handle: {"summary": "Handle", "model": model, "openapi_extra": {"x-author": "ada"}},
            other: {"summary": "Other", "deprecated": False},
        }

    def flow_of(self, handler: Any, service: str) -> str | None:
        return {handle: "svc", other: "other"}.get(handler)


class Request:
    def __init__(self, app: Any = None) -> None:
        self.app = app
        self.headers: dict[str, str] = {}


def handle(request: Any, *args: Any, **kwargs: Any) -> Launch:
    return nested(request, *args, **kwargs)


def nested(request: Any, *args: Any, **kwargs: Any) -> Launch:
    return Launch(request, *args, **kwargs)


def other() -> None: ...


def load(launch: Launch) -> Any:
    """Return the entrypoint and the inputs as a runner gets them."""
    return pickle.loads(base64.b64decode(launch.order["pickled"]))


def test_a_name_and_json_travel_as_they_are() -> None:
    """No pickle is made."""
    for entrypoint, name in ((run, f"{__name__}:run"), ("a.b:c", "a.b:c"), ("a.b.c", "a.b.c")):
        order = Launch(Request(), entrypoint, {"a": [1, None, {"b": "x"}]}).order
        assert (order["entrypoint"], order["inputs"]) == (name, {"a": [1, None, {"b": "x"}]})
        assert "pickled" not in order


def test_closures_methods_and_objects_are_pickled() -> None:
    """Their names are shown as Kodosumi shows them."""
    factor = 3

    def closure(inputs: Any) -> int:
        return int(inputs["n"]) * factor

    for entrypoint in (closure, Worker(3).work, lambda inputs: int(inputs["n"]) * 3):
        launch = Launch(Request(), entry_point=entrypoint, inputs={"n": 2})
        function, inputs = load(launch)
        assert function(inputs) == 6
        assert launch.order["inputs"] == {"n": 2}
    assert Launch(Request(), closure).order["entrypoint"] == f"{__name__}.closure"
    assert load(Launch(Request(), Worker(4)))[0]({}) == 4


@pytest.mark.parametrize(
    ("inputs", "shown"),
    [
        (None, {}),
        ([1, "a"], {"__list__": [1, "a"]}),
        ("text", {"str": "text"}),
        ({"day": dt.date(2026, 1, 2)}, {"day": "2026-01-02"}),
        ({"names": {"a.txt"}}, {"names": ["a.txt"]}),
        ({1: "a"}, {"1": "a"}),
        ({"pair": (1, 2)}, {"pair": [1, 2]}),
        ({"n": float("inf")}, {"n": "inf"}),
        ({"big": 2**70}, {"big": 2**70}),
    ],
)
def test_any_value_arrives_as_it_is(inputs: Any, shown: dict[str, Any]) -> None:
    """With its type; the control plane keeps a JSON object to show."""
    launch = Launch(Request(), "m:f", inputs)
    assert load(launch) == ("m:f", inputs)
    assert set(launch.order["inputs"]) == set(shown)
    if "n" not in shown and "big" not in shown:
        assert launch.order["inputs"] == shown


def test_a_models_fields_are_shown_under_its_name() -> None:
    """It arrives as the model."""
    launch = Launch(Request(), "m:f", Person(name="Ada"))
    assert load(launch)[1] == Person(name="Ada")
    assert launch.order["inputs"]["name"] == "Ada"


def test_hidden_fields_are_masked_wherever_they_are() -> None:
    """koco masks the top level only, so deeper ones are masked here and travel pickled."""
    app = App(F.Model(F.InputPassword(name="pin")))
    launch = handle(Request(app), "m:f", Person(name="Ada"))
    assert launch.order["inputs"]["pin"] == MASK
    nested_inputs = {"form": [{"pin": "1234", "a": 1}]}
    launch = handle(Request(app), "m:f", nested_inputs)
    assert launch.order["inputs"] == {"form": [{"pin": MASK, "a": 1}]}
    assert load(launch)[1] == nested_inputs
    # The control plane masks this one, and needs its value for a retry.
    assert handle(Request(app), "m:f", {"pin": "1234"}).order["inputs"] == {"pin": "1234"}


def test_the_running_handler_describes_the_execution() -> None:
    """Also if it calls a function that launches. Arguments come first."""
    order = handle(Request(App()), "m:f").order
    assert order["about"] == {"summary": "Handle", "author": "ada"}
    assert order["flow"] is None
    order = handle(Request(App()), "m:f", {}, other, "mine", extra={"id": 1}).order
    assert order["about"] == {"summary": "mine", "deprecated": False, "extra": {"id": 1}}
    assert order["flow"] == "other"
    order = Launch(Request(), "m:f", reference=run, description="why").order
    assert (order["about"], order["flow"]) == ({"description": "why"}, None)


def test_large_launches_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would not fit into the answer."""
    monkeypatch.setattr(pickles, "MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="the limit is") as caught:
        Launch(Request(), "m:f", [b"x" * 2000])
    assert caught.value.hint == "put large inputs into files"


def test_values_that_cannot_be_pickled_are_refused() -> None:
    """The error names the entrypoint and the cause."""

    class Connection:
        def __reduce__(self) -> str:
            raise TypeError("cannot pickle a connection")

    with pytest.raises(UsageError, match=r"cannot send m:f .*connection"):
        Launch(Request(), "m:f", {"connection": Connection()})


def test_inputs_of_the_documented_size_fit_into_an_answer() -> None:
    """Just under 8 MB of bytes, or of small numbers: the order is below an answer's 16 MB."""
    for inputs in ({"b": b"x" * (pickles.MOST_BYTES - 1000), "n": 1}, {"n": 1, "b": [7] * 1000000}):
        launch = nested(Request(), run, inputs={**inputs, "s": {1}})
        body = bytes(launch.body)
        assert len(body) < 16 * 1024 * 1024
        assert not json_value_count.has_more(body, 200_000)
        assert load(launch)[1]["b"] == inputs["b"]
        shown = launch.order["inputs"]
        assert shown["n"] == 1
        assert "MB" in shown["b"]


def test_many_large_inputs_are_shown_by_their_number() -> None:
    """Even their sizes alone would be long; masked values stay masked."""
    many = {f"k{number}" * 20: {number} for number in range(20_000)}
    assert list(pickles.to_display(many)) == ["…"]
    assert pickles.to_display({"pin": "1234", "b": b"x" * 10**6}, ["pin"])["pin"] == MASK
