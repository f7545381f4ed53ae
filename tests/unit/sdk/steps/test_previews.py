"""What people see of arguments and results."""

import time

import pytest

from koco.events import line
from koco.sdk.process.secrets import Masks
from koco.sdk.steps import previews
from koco.sdk.tracer import Tracer
from tests.support.journals import MemorySink


@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [
        ((), {}, ""),
        ((1, "a", None), {"deep": [True]}, '1, "a", null, deep=[true]'),
        (({"a": 1},), {}, '{"a":1}'),
        (
            (Tracer("f" * 16, MemorySink()), [MemorySink], len),
            {},
            '"<Tracer>", ["<MemorySink>"], "<len>"',
        ),
        (("x" * 500,), {}, '"' + "x" * 198 + "…"),
    ],
)
def test_shows_arguments_as_in_a_call(args: tuple[object, ...], kwargs: dict, shown: str) -> None:
    """As JSON, with names, cut at 200 characters."""
    assert previews.of_arguments(args, kwargs) == shown


def test_looks_only_at_the_beginning() -> None:
    """A value of many megabytes costs no more than a small one."""
    value = ["x" * 50_000_000] * 3 + list(range(10_000_000))
    began = time.perf_counter()
    assert len(previews.of_value(value)) == previews.LONGEST
    assert time.perf_counter() - began < 0.5


def test_masks_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """In arguments, results and errors, even where the text is cut."""
    monkeypatch.setattr(line, "mask", Masks(["s3cr3t-value"]).payload)
    padded = "x" * 190 + "s3cr3t-value"
    assert "s3cr3t" not in previews.of_arguments((padded,), {"key": "s3cr3t-value"})
    assert "s3cr3t" not in previews.of_value({"a": [padded]})
    assert previews.of_error(ValueError("bad s3cr3t-value")) == "ValueError: bad ********"


def test_shows_errors_on_one_line() -> None:
    """Type and message, whatever its `__str__` does."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise KeyError

    assert previews.of_error(ValueError("two\nlines")) == "ValueError: two lines"
    assert previews.of_error(ValueError()) == "ValueError"
    assert previews.of_error(BrokenError()) == "BrokenError: <its str raised KeyError>"
