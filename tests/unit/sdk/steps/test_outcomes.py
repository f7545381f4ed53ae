"""Outcomes of steps come back as they were, or are refused."""

import dataclasses
import datetime as dt
import enum
import math
import threading
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
import pytest

from koco.errors import KocoError, StepResultError, UsageError
from koco.sdk.steps import outcomes
from koco.sdk.steps.exceptions import RecordedTraceback


class Model(pydantic.BaseModel):
    x: int
    of: "Model | None" = None


@dataclasses.dataclass(frozen=True)
class Point:
    x: int


class Struct(msgspec.Struct):
    x: int


class Colour(enum.StrEnum):
    RED = "red"


class OddError(Exception):
    """Wants other arguments than it keeps."""

    def __init__(self, code: int, *, url: str) -> None:
        super().__init__(f"{code} from {url}")
        self.code, self.url = code, url


class CountedError(OSError):
    made = 0

    def __init__(self, path: str, extra: int) -> None:
        type(self).made += 1
        super().__init__(2, "no such file", path)
        self.extra = extra


class ReducedError(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__("sum", left + right)
        self.left, self.right = left, right

    def __reduce__(self) -> Any:
        return ReducedError, (self.left, self.right)


class Once:
    """Can be pickled and not be loaded."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def back(value: Any) -> Any:
    found, error = outcomes.decode((encoded := outcomes.encode_value(value, step="a:0"))[0])
    assert error is None
    assert repr(encoded[1]) == repr(found)
    return found


def back_error(exc: BaseException) -> BaseException:
    found, error = outcomes.decode(outcomes.encode_error(exc, step="a:0"))
    assert found is None
    assert error is not None
    return error


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        1.5,
        -0.0,
        "é",
        b"\0",
        [],
        {},
        [1, [2.0, {"a": None}]],
        2**63,
        2**70,
        -(2**70),
        "\ud800",
        (1, 2),
        [(1,)],
        {1: 2},
        {(1, 2): 3},
        {1, 2},
        frozenset("a"),
        bytearray(b"a"),
        1j,
        range(3),
        Colour.RED,
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.date(2026, 1, 1),
        Model(x=1, of=Model(x=2)),
        Point(1),
        Struct(1),
        {"a": [Point(1), (Model(x=1),)]},
        int,
        len,
        Ellipsis,
        [True, 1, 1.0],
    ],
)
def test_keeps_values_with_their_exact_types(value: Any) -> None:
    """Plain data, and whatever can be pickled."""
    found = back(value)
    assert found == value
    assert repr(found) == repr(value)
    assert type(found) is type(value)


T = TypeVar("T")
K = TypeVar("K")


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Two(pydantic.BaseModel, Generic[T, K]):
    one: T
    other: K


def test_keeps_generic_models_with_their_types() -> None:
    """Also those that are made in a function, and models in them."""
    for value in (
        Page[Model](items=[Model(x=1)]),
        Page[Page[int]](items=[Page[int](items=[1])]),
        Two[str, Page[Model]](one="a", other=Page[Model](items=[])),
        [Page[dict[str, int]](items=[{"a": 1}])],
        Page[bytes],
    ):
        found = back(value)
        assert found == value
        assert type(found) is type(value)
    failed = ValueError(Page[float](items=[1.5]))
    assert back_error(failed).args == failed.args


def test_keeps_nan_and_the_order_of_keys() -> None:
    """What comparing does not show."""
    assert math.isnan(back(math.nan))
    assert list(back({"b": 1, "a": 2})) == ["b", "a"]


def test_keeps_deep_values() -> None:
    """Nesting that plain data does not have goes another way."""
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    assert back(deep) == deep


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (threading.Lock(), "lock"),
        (lambda: 1, "lambda"),
        (Once(), "ValueError"),
        ((each for each in ()), "generator"),
    ],
)
def test_refuses_what_cannot_be_loaded_again(value: Any, said: str) -> None:
    """The error names the step and the type, and says why."""
    with pytest.raises(StepResultError, match="a:0") as caught:
        outcomes.encode_value([value], step="a:0")
    assert said in caught.value.message
    assert caught.value.hint


def test_refuses_a_coroutine() -> None:
    """A plain function that returns one is not done yet."""

    async def work() -> None: ...

    with pytest.raises(StepResultError, match="awaitable"):
        outcomes.encode_value(work(), step="a:0")


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001 - any
        return caught


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("a", 1),
        KeyError("a"),
        OddError(404, url="here"),
        CountedError("a.txt", 3),
        ReducedError(1, 2),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        FileNotFoundError(2, "no", "a.txt"),
        OSError("plain"),
        ImportError("no", name="a", path="b"),
        StopIteration(3),
        SyntaxError("bad", ("f.py", 1, 2, "x", 1, 3)),
        UsageError("wrong", hint="right"),
        ExceptionGroup("both", [OddError(1, url="a"), ExceptionGroup("deep", [KeyError("b")])]),
    ],
)
def test_keeps_exceptions(exc: BaseException) -> None:
    """Type, arguments, attributes and text; the constructor does not run again."""
    raised(exc)
    exc.add_note("a note")
    CountedError.made = 0
    found = back_error(exc)
    assert CountedError.made == 0
    assert type(found) is type(exc)
    assert (found.args if not isinstance(exc, ExceptionGroup) else str(found)) == (
        exc.args if not isinstance(exc, ExceptionGroup) else str(exc)
    )
    assert str(found) == str(exc)
    for name in ("code", "url", "extra", "filename", "errno", "value", "name", "path", "lineno"):
        assert getattr(found, name, None) == getattr(exc, name, None)
    if not isinstance(exc, ReducedError):
        assert found.__notes__[:-1] == exc.__notes__


def test_keeps_the_parts_of_a_group() -> None:
    """Each with its type, at any depth."""
    group = ExceptionGroup("both", [OddError(1, url="a"), ExceptionGroup("deep", [KeyError("b")])])
    found = back_error(group)
    assert isinstance(found, ExceptionGroup)
    first, deep = found.exceptions
    assert isinstance(first, OddError)
    assert first.url == "a"
    assert isinstance(deep, ExceptionGroup)
    assert isinstance(deep.exceptions[0], KeyError)


def test_keeps_errors_of_libraries() -> None:
    """A class that is not written in Python says itself how it is kept."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Model(x="a")  # type: ignore[arg-type]
    found = back_error(caught.value)
    assert isinstance(found, pydantic.ValidationError)
    assert str(found) == str(caught.value)


def test_keeps_the_causes_and_their_frames() -> None:
    """A reader sees where it was raised, and why; the flow can decide by the cause."""

    def inner() -> None:
        raise KeyError("reason")

    def outer() -> None:
        try:
            inner()
        except KeyError as exc:
            raise ValueError("outcome") from exc

    with pytest.raises(ValueError) as caught:
        outer()
    for found in (back_error(caught.value), back_error(back_error(caught.value))):
        assert "in outer" in found.__notes__[0]
        assert "in inner" not in found.__notes__[0]
        assert isinstance(found.__cause__, KeyError)
        assert found.__context__ is found.__cause__
        assert found.__cause__.args == ("reason",)
        assert "in inner" in found.__cause__.__notes__[0]


def test_keeps_a_cause_as_text_if_it_must() -> None:
    """The exception itself is kept; so are long chains, up to a length, and circles."""
    caused = ValueError("outer")
    caused.__cause__ = BadError(threading.Lock())
    cause = back_error(caused).__cause__
    assert isinstance(cause, RecordedTraceback)
    assert "BadError" in cause.text
    chained: Any = ValueError("0")
    for number in range(1, 50):
        chained, former = ValueError(str(number)), chained
        chained.__context__ = former
    found, length = back_error(chained), 0
    while found.__context__ is not None:
        found, length = found.__context__, length + 1
    assert length == 20
    assert "ValueError: 0" in str(found)
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert str(back_error(one).__cause__) == "other"


class BadError(Exception):
    pass


def test_refuses_exceptions_that_cannot_be_kept() -> None:
    """The error has the text of the step's own, and names the part."""

    class LocalError(Exception):
        pass

    bad = BadError("broken")
    bad.response = threading.Lock()  # type: ignore[attr-defined]
    for exc, said in (
        (LocalError("broken"), "its class"),
        (bad, "'response'"),
        (BadError(Once()), "argument"),
    ):
        with pytest.raises(StepResultError, match=said) as caught:
            outcomes.encode_error(exc, step="a:0")
        assert caught.value.__cause__ is exc
        assert type(exc).__name__ in caught.value.message
    kept = back_error(raised(caught.value))
    assert isinstance(kept, StepResultError)
    assert isinstance(kept, KocoError)
    assert kept.hint == caught.value.hint
