"""Conversion of values to JSON: the result that a reader expects, and no lost event."""

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
from koco.runner.result_encoding import encode_event


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


def encode(value: Any) -> Any:
    """Return a value's JSON, decoded. Fails if two decoders disagree or it is not strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

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
def test_converts_types_of_the_standard_library(value: Any, expected: Any) -> None:
    """Subclasses, containers and scalars, at the top and nested."""
    assert encode(value) == expected
    assert encode({"in": [value]}) == {"in": [expected]}


@pytest.mark.parametrize("where", [lambda one: one, lambda one: [one, None], Point])
def test_nan_and_infinities_keep_their_names(where: Any) -> None:
    """They become text, not null."""
    names = [json.dumps(encode(where(float(name)))) for name in ("nan", "inf", "-inf")]
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
def test_keys_with_the_same_name_become_pairs(value: Any, pairs: Any) -> None:
    """If two keys have the same JSON name, the object becomes a list of pairs, at any depth."""
    expected = {"$pairs": pairs, "$type": "builtins.dict"}
    assert encode(value) == expected
    assert encode([{"deep": value, "n": 1}]) == [{"deep": expected, "n": 1}]


def test_other_keys_become_text() -> None:
    """A key that is not text is named by its JSON."""
    keys = {1: 0, 1.5: 0, None: 0, (1, "a"): 0, b"x": 0, Colour.RED: 0, dt.date(2026, 1, 1): 0}
    names = ["1", "1.5", "null", '[1,"a"]', "eA==", "red", "2026-01-01"]
    assert list(encode(keys)) == names


@pytest.mark.parametrize("digits", [20, 400, 4000, 5000, 20_000])
def test_a_large_int_keeps_its_digits(digits: int) -> None:
    """It is a number as long as readers take it as one, then text."""
    found = encode([10**digits, -(10**digits)])
    assert [str(each).lstrip("-") for each in found] == ["1" + "0" * digits] * 2
    assert isinstance(encode(10**digits), int if digits <= 4000 else str)


def test_a_huge_int_becomes_hexadecimal() -> None:
    """Converting it to decimal digits would take too long."""
    assert int(encode(1 << 2_000_000), 16) == 1 << 2_000_000


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
def test_mocks_and_proxies_become_their_repr(value: Any) -> None:
    """Objects are recognised by type, so an object that answers to every name costs no time."""
    began = time.thread_time()
    assert set(encode([value])[0]) == {"$repr", "$type"}
    assert encode({"a": value})["a"]["$type"].endswith(type(value).__qualname__)
    assert time.thread_time() - began < 1


def test_reports_a_repr_that_is_not_text() -> None:
    """The value's type is kept."""
    assert encode([NoRepr()])[0]["$repr"].endswith("its repr raised TypeError>")


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
def test_endless_values_become_their_repr(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work for one payload has a limit."""
    monkeypatch.setattr(values, "MOST", 10_000)
    monkeypatch.setattr(values, "PATIENCE_S", 0.5)
    assert "$repr" in encode(value)


def test_bytes_in_a_model_are_text_if_utf8() -> None:
    """Bytes that are not UTF-8 become base64, and the other fields keep their form."""
    model = Model(raw=b"ok", inner=Model(raw=b"\xff\xfe", more=b"\xff"))  # type: ignore[call-arg]
    inner = {"raw": "//4=", "inner": None, "more": "/w=="}
    assert encode(model) == {"raw": "ok", "inner": inner}
    assert encode([{"a": model}]) == [{"a": {"raw": "ok", "inner": inner}}]


def test_limits_the_depth() -> None:
    """Parts that are nested too deep, or contain themselves, become their repr."""
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    found, depth = encode(value), 0
    while isinstance(found, list):
        found, depth = found[0], depth + 1
    assert 100 < depth <= values.DEEPEST and found["$type"] == "builtins.list"
    loop: dict[str, Any] = {"n": 1}
    loop["self"] = [loop]
    assert encode(loop)["n"] == 1 and encode(loop)["self"][0]["$type"] == "builtins.dict"


def test_large_lists_are_fast() -> None:
    """Also if one of the elements needs a conversion."""
    began = time.thread_time()
    found = encode([float("nan"), *([1.5] * 1_000_000)])
    assert (found[0], len(found)) == ("NaN", 1_000_001)
    assert time.thread_time() - began < 10


def test_converts_numpy_values() -> None:
    """Scalars become numbers, arrays lists, records objects, dates text. None becomes null."""
    np = pytest.importorskip("numpy")
    assert encode([np.int64(3), np.float32(1.5), np.bool_(True), np.str_("a")]) == [
        3,
        1.5,
        True,
        "a",
    ]
    assert encode(np.arange(4).reshape(2, 2)) == [[0, 1], [2, 3]]
    assert encode(np.array(5)) == 5
    assert encode({"a": np.array([1.0, np.nan])}) == {"a": [1.0, "NaN"]}
    assert encode(np.array([(1, "a")], dtype=[("x", int), ("y", "U1")])) == [{"x": 1, "y": "a"}]
    assert encode(np.array(["2026-01-01", "NaT"], dtype="datetime64[D]")) == ["2026-01-01", None]
    assert encode(np.array([1, "a", pathlib.PurePosixPath("/x")], dtype=object)) == [1, "a", "/x"]
    large = encode(np.zeros(5_000_000, dtype="i1"))
    assert (large["$cut"], large["$type"], len(large["$start"])) == (
        5_000_000,
        "numpy.ndarray",
        4096,
    )


def test_converts_pandas_values() -> None:
    """A table becomes a list of rows. Missing values become null, a real index a column."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, float("nan")]})
    rows = [{"a": 1, "b": "x", "c": 1.5}, {"a": 2, "b": None, "c": None}]
    assert encode(frame) == rows
    assert [list(row) for row in encode(frame.set_index("b"))] == [["b", "a", "c"]] * 2
    assert encode(pd.DataFrame([[1, 2]], columns=["a", "a"])) == {
        "columns": ["a", "a"],
        "rows": [[1, 2]],
    }
    assert encode([frame["c"], frame.columns, pd.NaT]) == [[1.5, None], ["a", "b", "c"], None]
    assert encode(pd.Series([1, 2], index=["x", "y"])) == {"x": 1, "y": 2}
    assert encode(pd.Timestamp("2026-01-01", tz="UTC")) == "2026-01-01T00:00:00+00:00"


def test_recognises_a_tensor_by_its_module() -> None:
    """Calls `tolist` only on types of known libraries."""

    class Tensor:
        def detach(self) -> Any:
            return self

        cpu = detach

        def numel(self) -> int:
            return 2

        def tolist(self) -> list[float]:
            return [1.0, float("nan")]

    assert "$repr" in encode(Tensor())
    real = type("Tensor", (Tensor,), {"__module__": "torch"})
    assert encode([real()]) == [[1.0, "NaN"]]


def test_gives_up_on_a_repr_that_hangs() -> None:
    """The event then names only the type, and the event loop is not blocked."""
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
def test_plain_data_is_unchanged(value: Any) -> None:
    """By both encoders."""
    assert encode(value) == value
    assert msgspec.json.decode(msgspec.json.encode(values.to_plain(value))) == value


@given(st.dictionaries(keys, st.integers(), max_size=8))
def test_loses_no_entry(value: dict[Any, int]) -> None:
    """The result has as many entries as the dict, for any keys."""
    found = encode([value])[0]
    pairs = found.get("$pairs") if set(found) == {"$pairs", "$type"} else list(found.items())
    assert [number for _, number in pairs] == list(value.values())
