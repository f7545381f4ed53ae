"""Digests of arguments: equal for equal calls, in any process."""

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import math
import pathlib
import re
import subprocess
import sys
import uuid
from collections import OrderedDict, deque
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pydantic
import pytest

from koco import testing
from koco.kodosumi.tracer import Tracer as KodosumiTracer
from koco.sdk.in_memory import Memory
from koco.sdk.in_memory.tracer import Process
from koco.sdk.steps.digests import digest
from koco.sdk.tracer import Tracer


def of(*args: Any, **kwargs: Any) -> str:
    return digest(args, kwargs)


class Model(pydantic.BaseModel):
    x: int
    y: Any = None


@dataclasses.dataclass
class Point:
    x: int
    seen: float = dataclasses.field(default=0.0, compare=False)


class Struct(msgspec.Struct):
    x: int


class Pair(NamedTuple):
    x: int
    y: int


class Colour(enum.Enum):
    RED = object()
    BLUE = object()


class Client:
    def __init__(self, number: int) -> None:
        self.number = number


class Liar(list[int]):
    def __iter__(self) -> Any:
        raise ValueError


class Text(str):
    pass


NESTED: list[Any] = []
NESTED.append(NESTED)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: "a", "b": 2}, {"b": 2, 1: "a"}),
        ({(1, 2): 3, None: 4}, {None: 4, (1, 2): 3}),
        ({3, 1, 2}, {2, 3, 1}),
        ({"a", 1, None, (2,)}, {(2,), None, 1, "a"}),
        ({frozenset("ab"), frozenset("c")}, {frozenset("c"), frozenset("ba")}),
        (math.nan, float("nan")),
        ([math.nan, {"a": math.nan}], [float("nan"), {"a": math.nan * 1}]),
        (Model(x=1, y={2, 1}), Model(x=1, y={1, 2})),
        (Point(1, seen=1.0), Point(1, seen=2.0)),
        (Struct(1), Struct(1)),
        (Pair(1, 2), Pair(1, 2)),
        (Client(1), Client(2)),
        (Liar(), Liar()),
        (lambda: 1, lambda: 1),
        (functools.partial(of, 1), functools.partial(of, 1)),
        (np.arange(3), np.arange(3)),
        (Text("a"), Text("a")),
        (2**90, 2**90),
        ("\ud800", "\ud800"),
        (NESTED, NESTED),
        (ValueError("a"), ValueError("a")),
        (deque([1]), deque([1])),
        (bytearray(b"a"), b"a"),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (re.compile("a"), re.compile("a")),
        (object(), object()),
        (Colour.RED, Colour.RED),
    ],
)
def test_equal_arguments_have_one_digest(one: Any, other: Any) -> None:
    """Identity, the order of keys and sets, and what is not known do not count."""
    assert of(one) == of(other)
    assert of([one], a={"b": one}) == of([other], a={"b": other})


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    0.0,
    1.5,
    "",
    "1",
    b"1",
    [],
    [1],
    [[1]],
    {},
    {"a": 1},
    {"a": "1"},
    {1: "a"},
    2**64,
    2**90,
    {1},
    {2},
    Colour.RED,
    Colour.BLUE,
    Model(x=1),
    Model(x=2),
    Point(1),
    Point(2),
    Struct(2),
    pathlib.Path("a"),
    dt.date(2026, 1, 1),
    dt.timedelta(1),
    decimal.Decimal("1.0"),
    uuid.UUID(int=1),
    1j,
    of,
    digest,
    int,
    Client(1),
    Liar(),
    np.arange(3),
    np.arange(4),
    np.arange(3.0),
    ValueError("a"),
    ValueError("b"),
    re.compile("a"),
    re.compile("a", re.I),
    functools.partial(of, 1),
    functools.partial(of, 2),
    "\ud800",
    range(3),
    range(4),
    np.int64(1),
    np.int64(2),
]


def test_other_arguments_have_another_digest() -> None:
    """Values, their types where that matters, and the names of arguments count."""
    digests = [of(each) for each in VALUES]
    assert len(set(digests)) == len(digests)
    assert len({of(1, 2), of(2, 1), of(1, a=2), of(1, b=2), of([1, 2]), of()}) == 6


def test_tracers_do_not_count() -> None:
    """A flow gets another tracer in a test than in a runner, and another of Kodosumi's."""
    tracers: list[Any] = [testing.Tracer(), Tracer("f", Process(Memory()))]
    tracers.append(KodosumiTracer(tracers[1]))
    assert len({of(each, 1) for each in tracers}) == 1
    assert len({of(each.result, [each.debug]) for each in tracers}) == 1
    assert of(tracers[0], 1) != of(tracers[0], 2)


def test_digest_is_the_same_in_another_process() -> None:
    """Hashes of texts differ from process to process; digests do not."""
    code = (
        "from koco.sdk.steps.digests import digest;"
        "print(digest(({'b', 'a', 'c'}, {frozenset('ab'), frozenset('cd'), frozenset('ef')}),"
        " {'key': {'x': {'é', 1}}}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(found) == 1
