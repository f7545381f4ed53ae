"""`koco.remote` without Ray: the arguments of a call, and when a process works for an execution."""

import asyncio
from typing import Any

import pytest

from koco.errors import UsageError
from koco.sdk.ray_work import calls, tasks
from koco.sdk.tracer import Tracer


class Sink:
    """Ignores everything."""


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
def test_passes_the_tracer_to_its_parameter(
    function: Any, args: Any, kwargs: Any, expected: Any
) -> None:
    """At the parameter's position, unless the call already passes one."""
    assert tasks.add_tracer(function, TRACER, args, kwargs) == expected


def test_refuses_anything_but_functions_and_classes() -> None:
    with pytest.raises(UsageError, match="not int"):
        tasks.remote(1)


def test_a_calls_endings_run_when_it_ends() -> None:
    """For functions, coroutines and both kinds of generators, even if they raise."""
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
            await calls.follow_calls(coroutine)()
        assert [each async for each in calls.follow_calls(stream)()] == [3]

    assert calls.follow_calls(plain)() == 1
    assert list(calls.follow_calls(generator)()) == [2]
    asyncio.run(both())
    assert ended == ["plain", "generator", "coroutine", "stream"]
