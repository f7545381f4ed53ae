"""`koco.remote` without Ray: which arguments a call gets, and when a process works for whom."""

import asyncio
from typing import Any

import pytest

from koco.errors import UsageError
from koco.sdk import calls, tasks
from koco.sdk.tracer import Tracer


class Sink:
    """Takes nothing."""


TRACER = Tracer("fid", Sink())  # type: ignore[arg-type]


def first(tracer: Any, path: str) -> None: ...
def last(path: str, tracer: Any = None) -> None: ...
def named(path: str, *, tracer: Any) -> None: ...
def none(path: str) -> None: ...


class Counter:
    def __init__(self, tracer: Any, start: int = 0) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected"),
    [
        (first, ("a",), {}, ((TRACER, "a"), {})),
        (first, (), {"path": "a"}, ((TRACER,), {"path": "a"})),
        (first, (TRACER, "a"), {}, ((TRACER, "a"), {})),
        (last, ("a",), {}, (("a", TRACER), {})),
        (last, (), {"path": "a"}, ((), {"path": "a", "tracer": TRACER})),
        (last, ("a",), {"tracer": 1}, (("a",), {"tracer": 1})),
        (named, ("a",), {}, (("a",), {"tracer": TRACER})),
        (none, ("a",), {}, (("a",), {})),
        (Counter, (), {"start": 1}, ((TRACER,), {"start": 1})),
    ],
)
def test_a_parameter_called_tracer_is_given_it(
    function: Any, args: Any, kwargs: Any, expected: Any
) -> None:
    """Where it stands, unless the call gives one."""
    assert tasks.given(function, TRACER, args, kwargs) == expected


def test_what_is_no_function_or_class_is_refused() -> None:
    with pytest.raises(UsageError, match="not int"):
        tasks.remote(1)


def test_a_call_ends_with_what_it_was_to_do_in_the_end() -> None:
    """Functions, coroutines and both kinds of generators, also where they raise."""
    ended: list[str] = []

    def note(what: str) -> None:
        calls._current.get().endings.append(lambda: ended.append(what))  # type: ignore[union-attr]

    def plain() -> int:
        note("plain")
        return 1

    def generator() -> Any:
        note("generator")
        yield 2

    async def coroutine() -> None:
        note("coroutine")
        raise ValueError("on purpose")

    async def stream() -> Any:
        note("stream")
        yield 3

    async def both() -> None:
        with pytest.raises(ValueError, match="on purpose"):
            await calls.followed(coroutine)()
        assert [each async for each in calls.followed(stream)()] == [3]

    assert calls.followed(plain)() == 1
    assert list(calls.followed(generator)()) == [2]
    asyncio.run(both())
    assert ended == ["plain", "generator", "coroutine", "stream"]
