"""`koco.step` on functions of all kinds."""

import asyncio
import functools
import inspect
import math
import pickle
import subprocess
import sys
import typing
from typing import Any

import pytest

import koco
from koco import Tracer, step
from koco.errors import UsageError
from tests.support.journals import MemorySink, play


@step
def add(left: int, right: int = 1) -> int:
    """Add numbers."""
    return left + right


@step(retries=2)
async def add_later(left: int, right: int = 1) -> int:
    """Add numbers later."""
    return left + right


class Agent:
    factor = 3

    def __init__(self, name: str) -> None:
        self.name = name

    @step
    def ask(self, question: str) -> str:
        return f"{self.name}: {question}"

    @step(retries=1)
    async def ask_later(self, question: str) -> str:
        return f"{self.name}: {question}"

    @step
    @staticmethod
    def double(number: int) -> int:
        return 2 * number

    @staticmethod
    @step
    def triple(number: int) -> int:
        return 3 * number

    @classmethod
    @step
    def times(cls, number: int) -> int:
        return cls.factor * number

    @step
    @classmethod
    def times_too(cls, number: int) -> int:
        return cls.factor * number

    def __call__(self, question: str) -> str:
        return question


class Later:
    async def __call__(self, number: int) -> int:
        return number


def test_outside_of_an_execution_it_is_the_plain_function() -> None:
    """Tests of a function need no koco."""
    assert add(1, 2) == 3
    assert asyncio.run(add_later(1)) == 2
    assert Agent("a").ask("b") == "a: b"
    assert Agent.double(2) == 4
    assert Agent("a").times_too(2) == 6


def test_keeps_what_a_function_says_about_itself() -> None:
    """Name, docstring, signature and hints; `inspect` sees whether it is async."""
    assert add.__name__ == "add"
    assert add.__doc__ == "Add numbers."
    assert str(inspect.signature(add_later)) == "(left: int, right: int = 1) -> int"
    assert typing.get_type_hints(add)["left"] is int
    assert inspect.iscoroutinefunction(add_later) or asyncio.iscoroutinefunction(add_later)
    assert not asyncio.iscoroutinefunction(add)
    assert pickle.loads(pickle.dumps(add)) is add


def test_functions_of_all_kinds_are_steps() -> None:
    """Methods, static and class methods, partial functions, callable objects, lambdas."""

    async def flow(tracer: Tracer) -> Any:
        agent = Agent("a")
        return [
            add(1),
            await add_later(1),
            agent.ask("b"),
            await agent.ask_later("c"),
            Agent.double(1),
            agent.triple(1),
            Agent.times(1),
            agent.times_too(1),
            step(functools.partial(add.__wrapped__, right=5))(1),  # type: ignore[attr-defined]
            step(Agent("callable"))("d"),
            await step(Later())(7),
            step(lambda: 8)(),
        ]

    sink = MemorySink()
    expected = [2, 2, "a: b", "a: c", 2, 3, 3, 3, 6, "d", 7, 8]
    assert play(flow, sink) == expected
    names = [each.name for each in sink.records]
    assert names == [
        "add", "add_later", "ask", "ask_later", "double", "triple", "times", "times_too", "add",
        "Agent", "Later", "_lambda_",
    ]  # fmt: skip
    assert play(flow, again := MemorySink(), sink.past()) == expected
    assert not again.records


def test_object_of_a_method_is_not_compared() -> None:
    """Only its type: what else is in it may differ from run to run."""
    sink = MemorySink()
    play(lambda tracer: Agent("a").ask("x"), sink)
    assert sink.records[0].arguments == '"<Agent>", "x"'
    assert play(lambda tracer: Agent("b").ask("x"), past=sink.past()) == "a: x"


def test_tracer_step_names_a_function() -> None:
    """A decorated function keeps its options under another name."""

    async def flow(tracer: Tracer) -> Any:
        return [
            await tracer.step("one", add, 1, right=4),
            await tracer.step("two", add_later, 1),
            tracer.step_sync("three", add, 1),
            await tracer.step("four", Agent("x").ask, "y"),
            await tracer.step("five", dict, name=1, function=2),
        ]

    sink = MemorySink()
    assert play(flow, sink)[:4] == [5, 2, 2, "x: y"]
    assert [each.key for each in sink.records] == ["one:0", "two:0", "three:0", "four:0", "five:0"]


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: step(generator), "generator"),
        (lambda: step(async_generator), "generator"),
        (lambda: step(retries=1)(functools.partial(generator)), "generator"),
        (lambda: step(3), "not a function"),  # type: ignore[call-overload]
        (lambda: step(Agent), "not a function"),
        (lambda: step(retries=-1), "retries"),
        (lambda: step(retries=1.5), "retries"),  # type: ignore[call-overload]
        (lambda: step(retries=True), "retries"),
        (lambda: step(backoff_s=-1), "backoff_s"),
        (lambda: step(backoff_s=math.nan), "backoff_s"),
        (lambda: step(timeout_s=0), "timeout_s"),
        (lambda: step(timeout_s="1"), "timeout_s"),  # type: ignore[call-overload]
        (lambda: step(name="a b")(add), "cannot name a step"),
        (lambda: step(name="")(add), "cannot name a step"),
        (lambda: step(name="x" * 101)(add), "cannot name a step"),
    ],
)
def test_refuses_what_cannot_be_a_step(make: Any, said: str) -> None:
    """When the function is decorated, and not when the flow runs."""
    with pytest.raises(UsageError, match=said):
        make()


def test_tracer_step_refuses_it_as_well() -> None:
    """At the call; `step_sync` calls no coroutine function."""

    def flow(tracer: Tracer) -> None:
        for name, function in (("a b", add), ("a", generator), ("a", 3)):
            with pytest.raises(UsageError):
                tracer.step(name, function)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="async def"):
            tracer.step_sync("a", add_later, 1)

    play(flow)


def test_importing_koco_loads_no_steps() -> None:
    """The name is loaded when it is first used, and costs little."""
    code = (
        "import sys, koco; assert not [m for m in sys.modules if m.startswith('koco.sdk')];"
        "koco.step; print([m for m in ('ray', 'httpx', 'pydantic', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "step" in koco.__all__
