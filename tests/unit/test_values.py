"""What any value becomes: the JSON that a reader expects, and never a lost event."""

import array
import asyncio
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import json
import pathlib
import re
import threading
import time
import types
import uuid
from typing import Any
from unittest.mock import MagicMock, Mock

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koco.events import line, values
from koco.events.model import Kind
from koco.runner.encoding import encode_event


class Str(str):
    pass


class Int(int):
    pass


class Float(float):
    pass


class Endless(list[int]):
    def __iter__(self) -> Any:
        while True:
            yield 1


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: float
    more: Any = None


class Tagged(msgspec.Struct, tag="tagged", rename="camel"):
    some_value: float


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    raw: bytes
    inner: "Model | None" = None


Pair = collections.namedtuple("Pair", "x y")


def shown(value: Any) -> Any:
    """Return what every reader of JSON takes a value for."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = line.encode_payload(value)
    assert msgspec.json.decode(text) == json.loads(text)
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Str("a"), "a"),
        ([Int(3), Float(1.5)], [3, 1.5]),
        (Colour.RED, "red"),
        ([Colour.PAIR, Level.LOW], [[1, 2], 1]),
        (Endless([1, 2]), [1, 2]),
        (collections.deque([1, 2]), [1, 2]),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.UserDict(a=1), {"a": 1}),
        (collections.UserList([1]), [1]),
        (collections.ChainMap({"a": 1}), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (types.SimpleNamespace(a=1), {"a": 1}),
        ({"b": 1, "a": 2}.keys(), ["b", "a"]),
        (Pair(1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        (array.array("i", [1]), [1]),
        ({"x": {"b", "a"}}, {"x": ["a", "b"]}),
        (frozenset("ba"), ["a", "b"]),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (fractions.Fraction(1, 3), "1/3"),
        (decimal.Decimal("1.50"), "1.50"),
        (1 + 2j, "1+2j"),
        (ipaddress.ip_address("::1"), "::1"),
        ([ipaddress.ip_network("10.0.0.0/8")], ["10.0.0.0/8"]),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (re.compile("a+"), "a+"),
        (dt.timedelta(days=1), "P1D"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "2026-01-01T00:00:00Z"),
        (memoryview(b"a"), "YQ=="),
        (
            ExceptionGroup("g", [KeyError("k")]),
            "ExceptionGroup: g (1 sub-exception): KeyError: 'k'",
        ),
        (Point(1), {"x": 1, "more": None}),
        (Tagged(float("inf")), {"type": "tagged", "someValue": "Infinity"}),
        (["a\ud800", Str("\ud800")], ["a\\ud800", "\\ud800"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_becomes_the_json_that_a_reader_expects(value: Any, expected: Any) -> None:
    """Subclasses, containers and single values of the standard library, wherever they stand."""
    assert shown(value) == expected
    assert shown({"in": [value]}) == {"in": [expected]}


@pytest.mark.parametrize("where", [lambda one: one, lambda one: [one, None], Point])
def test_no_number_becomes_null_without_a_word(where: Any) -> None:
    """NaN and the infinities have names."""
    names = [json.dumps(shown(where(float(name)))) for name in ("nan", "inf", "-inf")]
    assert ['"NaN"' in names[0], '"Infinity"' in names[1], '"-Infinity"' in names[2]] == [True] * 3


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]]),
        ({True: 1, "true": 2}, [[True, 1], ["true", 2]]),
        ({None: 1, "null": 2}, [[None, 1], ["null", 2]]),
        ({Colour.RED: 1, "red": 2}, [["red", 1], ["red", 2]]),
        ({dt.date(2026, 1, 1): 1, "2026-01-01": 2}, [["2026-01-01", 1], ["2026-01-01", 2]]),
    ],
)
def test_keys_of_one_name_lose_no_entry(value: Any, pairs: Any) -> None:
    """Where an object cannot have both, the pairs stand for it, at any depth."""
    expected = {"$pairs": pairs, "$type": "builtins.dict"}
    assert shown(value) == expected
    assert shown([{"deep": value, "n": 1}]) == [{"deep": expected, "n": 1}]


def test_keys_that_are_no_text_have_names() -> None:
    """Each its JSON, or what is text of it."""
    keys = {1: 0, 1.5: 0, None: 0, (1, "a"): 0, b"x": 0, Colour.RED: 0, dt.date(2026, 1, 1): 0}
    names = ["1", "1.5", "null", '[1,"a"]', "eA==", "red", "2026-01-01"]
    assert list(shown(keys)) == names


@pytest.mark.parametrize("digits", [20, 400, 4000, 5000, 20_000])
def test_a_large_int_keeps_its_digits(digits: int) -> None:
    """As a number as long as readers take it for one, then as text."""
    found = shown([10**digits, -(10**digits)])
    assert [str(each).lstrip("-") for each in found] == ["1" + "0" * digits] * 2
    assert isinstance(shown(10**digits), int if digits <= 4000 else str)


def test_an_int_beyond_measure_is_hexadecimal() -> None:
    """Decimal digits of it would take ever longer."""
    assert int(shown(1 << 2_000_000), 16) == 1 << 2_000_000


class Pretender:
    """Answers to every name, as mocks and proxies do."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __iter__(self) -> Any:
        return iter([self])


class Itself:
    def to_payload(self) -> Any:
        return self


class Recursive:
    def model_dump(self, mode: str) -> Any:
        return self.model_dump(mode)


class Exits:
    def model_dump(self, mode: str) -> Any:
        raise SystemExit(3)


class NoRepr:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


@pytest.mark.parametrize(
    "value",
    [MagicMock(), Mock(), MagicMock(spec=dict), Pretender(), Itself(), Recursive(), Exits()],
)
def test_what_only_pretends_to_be_a_model_costs_nothing(value: Any) -> None:
    """It is known by its type, and kept as its repr."""
    began = time.thread_time()
    assert set(shown([value])[0]) == {"$repr", "$type"}
    assert shown({"a": value})["a"]["$type"].endswith(type(value).__qualname__)
    assert time.thread_time() - began < 1


def test_a_repr_that_is_no_text_is_told() -> None:
    """Its type is known all the same."""
    assert shown([NoRepr()])[0]["$repr"].endswith("its repr raised TypeError>")


class Doubles:
    def to_payload(self) -> Any:
        return [Doubles(), Doubles()]


class Numbers(collections.UserDict[int, int]):
    def __iter__(self) -> Any:
        number = 0
        while True:
            yield (number := number + 1)

    def __getitem__(self, key: int) -> int:
        return key


@pytest.mark.parametrize("value", [Doubles(), Numbers()])
def test_what_goes_on_for_ever_is_given_up(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work for one payload has a limit."""
    monkeypatch.setattr(values, "MOST", 10_000)
    monkeypatch.setattr(values, "PATIENCE_S", 0.5)
    assert "$repr" in shown(value)


def test_bytes_in_a_model_cost_the_rest_of_it_nothing() -> None:
    """Only those that are no UTF-8 become base64."""
    model = Model(raw=b"ok", inner=Model(raw=b"\xff\xfe", more=b"\xff"))  # type: ignore[call-arg]
    inner = {"raw": "//4=", "inner": None, "more": "/w=="}
    assert shown(model) == {"raw": "ok", "inner": inner}
    assert shown([{"a": model}]) == [{"a": {"raw": "ok", "inner": inner}}]


def test_depth_ends_where_readers_do() -> None:
    """Deeper, the repr stands for what is left; what contains itself ends there too."""
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    found, depth = shown(value), 0
    while isinstance(found, list):
        found, depth = found[0], depth + 1
    assert 100 < depth <= values.DEEPEST and found["$type"] == "builtins.list"
    loop: dict[str, Any] = {"n": 1}
    loop["self"] = [loop]
    assert shown(loop)["n"] == 1 and shown(loop)["self"][0]["$type"] == "builtins.dict"


def test_millions_of_elements_take_seconds() -> None:
    """Also where one of them needs a closer look."""
    began = time.thread_time()
    found = shown([float("nan"), *([1.5] * 1_000_000)])
    assert (found[0], len(found)) == ("NaN", 1_000_001)
    assert time.thread_time() - began < 10


def test_numpy_is_read_without_being_imported() -> None:
    """Scalars are numbers, arrays lists, records objects; dates text, and none of them null."""
    np = pytest.importorskip("numpy")
    assert shown([np.int64(3), np.float32(1.5), np.bool_(True), np.str_("a")]) == [
        3,
        1.5,
        True,
        "a",
    ]
    assert shown(np.arange(4).reshape(2, 2)) == [[0, 1], [2, 3]]
    assert shown(np.array(5)) == 5
    assert shown({"a": np.array([1.0, np.nan])}) == {"a": [1.0, "NaN"]}
    assert shown(np.array([(1, "a")], dtype=[("x", int), ("y", "U1")])) == [{"x": 1, "y": "a"}]
    assert shown(np.array(["2026-01-01", "NaT"], dtype="datetime64[D]")) == ["2026-01-01", None]
    assert shown(np.array([1, "a", pathlib.PurePosixPath("/x")], dtype=object)) == [1, "a", "/x"]
    large = shown(np.zeros(5_000_000, dtype="i1"))
    assert (large["$cut"], large["$type"], len(large["$start"])) == (
        5_000_000,
        "numpy.ndarray",
        4096,
    )


def test_pandas_is_read_without_being_imported() -> None:
    """A table is a list of rows, what is missing null; an index that says something counts."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, float("nan")]})
    rows = [{"a": 1, "b": "x", "c": 1.5}, {"a": 2, "b": None, "c": None}]
    assert shown(frame) == rows
    assert [list(row) for row in shown(frame.set_index("b"))] == [["b", "a", "c"]] * 2
    assert shown(pd.DataFrame([[1, 2]], columns=["a", "a"])) == {
        "columns": ["a", "a"],
        "rows": [[1, 2]],
    }
    assert shown([frame["c"], frame.columns, pd.NaT]) == [[1.5, None], ["a", "b", "c"], None]
    assert shown(pd.Series([1, 2], index=["x", "y"])) == {"x": 1, "y": 2}
    assert shown(pd.Timestamp("2026-01-01", tz="UTC")) == "2026-01-01T00:00:00+00:00"


def test_a_tensor_is_known_by_its_module() -> None:
    """`tolist` counts where the type is a library's that is known, and nowhere else."""

    class Tensor:
        def detach(self) -> Any:
            return self

        cpu = detach

        def numel(self) -> int:
            return 2

        def tolist(self) -> list[float]:
            return [1.0, float("nan")]

    assert "$repr" in shown(Tensor())
    real = type("Tensor", (Tensor,), {"__module__": "torch"})
    assert shown([real()]) == [[1.0, "NaN"]]


def test_a_repr_that_hangs_is_left_behind() -> None:
    """What a flow returned is told by its type then, and nothing else has to wait."""
    release = threading.Event()

    class Hangs:
        def __repr__(self) -> str:
            release.wait(30)
            return "late"

    async def main() -> bytes:
        ticks = asyncio.create_task(asyncio.sleep(0.05))
        text = await encode_event(Kind.FINAL, [Hangs()], patience_s=0.2)
        assert ticks.done()
        return text

    payload = line.decode(1, asyncio.run(main()))["payload"]
    release.set()
    assert payload["$type"] == "builtins.list" and "0.2 s" in payload["$repr"]


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text() | st.integers() | st.booleans() | st.none() | st.dates() | st.binary()
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(trees.filter(lambda tree: "inf" not in repr(tree)))
def test_json_stays_as_it_is(value: Any) -> None:
    """Plain data is written as it stands, on both ways through."""
    assert shown(value) == value
    assert msgspec.json.decode(msgspec.json.encode(values.plain(value))) == value


@given(st.dictionaries(keys, st.integers(), max_size=8))
def test_no_entry_is_ever_lost(value: dict[Any, int]) -> None:
    """As many come out as went in, whatever the keys are."""
    found = shown([value])[0]
    pairs = found.get("$pairs") if set(found) == {"$pairs", "$type"} else list(found.items())
    assert [number for _, number in pairs] == list(value.values())
