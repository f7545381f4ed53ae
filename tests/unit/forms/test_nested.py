"""The constraints of nested values in a signature, checked at the launch."""

import dataclasses
import enum
import json
import time
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import annotated_types
import jsonschema
import pydantic
import pytest

from koco import forms as F  # noqa: N812
from koco.errors import InputsError
from koco.forms import nested
from koco.sdk.entrypoints import loader


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(min_length=2, pattern="^[a-z]")
    n: int = pydantic.Field(ge=1, le=10)
    tags: list[Annotated[str, pydantic.Field(max_length=3)]] = []
    kids: "list[Item]" = []
    colour: Colour = Colour.RED

    @pydantic.field_validator("name")
    @classmethod
    def _not_bad(cls, name: str) -> str:
        if name == "bad":
            raise ValueError("is bad")
        return name


class Order(pydantic.BaseModel):
    item: Item
    items: list[Item] = pydantic.Field(default=[], max_length=2)
    by: dict[str, Item] = {}
    either: int | Item | None = None


@dataclasses.dataclass
class Point:
    x: Annotated[int, annotated_types.Ge(0)]
    more: "list[Point]" = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.x == 7:
            raise ValueError("seven is taken")


class Named(TypedDict):
    a: int
    b: NotRequired[str]


class Free(pydantic.BaseModel):
    """Its validator sees the values before their types do."""

    words: Annotated[list[str], pydantic.BeforeValidator(lambda text: text.split(","))]
    n: int

    @pydantic.field_validator("n", mode="before")
    @classmethod
    def _any(cls, value: Any) -> int:
        return len(value)


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)
    some: int = pydantic.Field(alias="other")


def order(inputs: Order) -> Any:
    return inputs


def direct(
    item: Item | None = None,
    points: list[Point] | None = None,
    named: Named | None = None,
    pair: tuple[int, str] | None = None,
    kinds: list[Literal["a", 1]] | None = None,
    free: Free | None = None,
    aliased: Aliased | None = None,
) -> Any:
    return locals()


def refused(flow: Callable[..., Any], **inputs: Any) -> dict[str, list[str]]:
    form = loader.form_of(flow)
    assert form is not None
    jsonschema.Draft202012Validator.check_schema(form.json_schema())
    with pytest.raises(InputsError) as caught:
        # Like the control plane, which reads the form from the runner's description.
        F.Model.from_list(json.loads(json.dumps(form.to_list()))).validate(inputs)
    return caught.value.errors


def called(flow: Callable[..., Any], **inputs: Any) -> Any:
    form = loader.form_of(flow)
    assert form is not None
    return flow(**loader.bind(flow, form.validate(inputs), None))


GOOD = {"name": "ab", "n": 3}


@pytest.mark.parametrize(
    ("flow", "inputs", "errors"),
    [
        (order, {"item": GOOD | {"n": 30}}, {"item": ["n: must be at most 10, got 30"]}),
        (order, {"item": {"name": "Ab"}}, {"item": ["n: is required", "name: must match"]}),
        (order, {"item": GOOD | {"x": 1}}, {"item": ["x: is not a field here"]}),
        (order, {"item": GOOD | {"tags": ["abcd"]}}, {"item": ["tags[0]: must have at most 3"]}),
        (order, {"item": GOOD | {"kids": [{"n": 1}]}}, {"item": ["kids[0].name: is required"]}),
        (
            order,
            {"item": GOOD | {"colour": "green"}},
            {"item": ["colour: must be one of red, blue"]},
        ),
        (order, {"item": GOOD, "items": [GOOD] * 3}, {"items": ["must have at most 2 elements"]}),
        (
            order,
            {"item": GOOD, "by": {"k": {"name": "ab", "n": 0}}},
            {"by": ["k.n: must be at le"]},
        ),
        (order, {"item": GOOD, "either": GOOD | {"n": 0}}, {"either": ["n: must be at least 1"]}),
        (
            order,
            {"item": "text"},
            {"item": ['must be an object in JSON, such as {"name": "value"}, got \'text\'']},
        ),
        (
            direct,
            {"points": "text"},
            {"points": ['must be a list in JSON, such as ["a", "b"], got \'text\'']},
        ),
        (direct, {"points": 3}, {"points": ["must be a list, got a number"]}),
        (
            direct,
            {"points": [{"x": 1, "more": [{"x": -1}]}]},
            {"points": ["[0].more[0].x: must be"]},
        ),
        (direct, {"named": {"a": "x"}}, {"named": ["a: must be a number, got 'x'"]}),
        (direct, {"pair": [1]}, {"pair": ["must have at least 2 elements"]}),
        (direct, {"kinds": ["b"]}, {"kinds": ["[0]: must be one of a, 1, got 'b'"]}),
    ],
)
def test_nested_constraints_refuse_a_launch(
    flow: Callable[..., Any], inputs: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    """The message has field and path. The author's code does not run."""
    found = refused(flow, **inputs)
    assert found.keys() == errors.keys()
    for name, starts in errors.items():
        assert all(one.startswith(start) for one, start in zip(found[name], starts, strict=True))


def test_names_an_element_with_its_list() -> None:
    """As one path. Other messages come after their field."""
    error = InputsError(items=["[0].n: must be at most 10", "must have at most 2 elements"])
    error.add(free="[ is no JSON")
    assert str(error).splitlines() == [
        "items[0].n: must be at most 10",
        "items: must have at most 2 elements",
        "free: [ is no JSON",
    ]


def test_accepts_every_value_that_the_code_takes() -> None:
    """Numbers as text, both sides of a union, null, and values that the author's code converts."""
    found = called(order, item=GOOD | {"n": "3"}, either="5", by={"k": GOOD})
    assert (found.item.n, found.either, found.by["k"].name) == (3, 5, "ab")
    found = called(
        direct,
        pair=["1", "b"],
        kinds=["a", 1],
        free={"words": "a,b", "n": [1, 2]},
        aliased={"some": 1},
        points=[{"x": 1}],
    )
    assert (found["pair"], found["kinds"]) == ((1, "b"), ["a", 1])
    assert (found["free"].words, found["free"].n, found["aliased"].some) == (["a", "b"], 2, 1)


def test_refusals_by_the_authors_code_have_messages() -> None:
    """By field, with the path, as at a launch."""
    with pytest.raises(InputsError) as caught:
        called(direct, item=GOOD | {"name": "bad"}, points=[{"x": 7}])
    assert caught.value.errors["item"] == ["name: is bad"]
    assert caught.value.errors["points"][0].startswith("seven is taken")


@pytest.mark.parametrize(
    "schema",
    [
        *({"$ref": "#"}, {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}),
        *({"type": 5}, {"anyOf": [5]}, {"properties": 1}, {"type": "string", "pattern": "("}),
        *({"type": "string", "pattern": each} for each in ("(?=a)b", r"(a)\1b", "[b-z]*(?>b)")),
    ],
)
def test_an_odd_schema_refuses_nothing(schema: dict[str, Any]) -> None:
    """Invalid parts of a schema are not enforced, and cost no time."""
    assert nested.find_problems("a" * 50, schema) == []


def test_accepts_huge_and_infinite_limits() -> None:
    """The form enforces them as far as it can, the callable does the rest."""
    inf = float("inf")

    def flow(
        n: int = 10**30,
        m: Annotated[int, annotated_types.Le(10**30)] = -(10**30),
        x: float = inf,
        y: Annotated[float, annotated_types.Ge(-inf), annotated_types.Le(5)] = 1.0,
        z: int = 10**400,
    ) -> Any:
        return n, m, x, y, z

    assert called(flow) == (10**30, -(10**30), inf, 1.0, 10**400)
    assert refused(flow, y=6, m=10**31).keys() == {"y", "m"}


def test_two_spellings_of_a_name_are_one_field() -> None:
    """As for identifiers in Python: a keyboard may send `ö` as one character or as two."""
    names = {}
    exec("def flow(größe: str): return größe", names)
    flow = names["flow"]
    spelt = unicodedata.normalize("NFD", "größe")
    assert spelt != "größe"
    assert called(flow, **{spelt: "xl"}) == "xl"
    form = F.Model(F.InputText(name=spelt))
    assert form.validate({"größe": "s"}) == {spelt: "s"}
    assert flow(**loader.bind(flow, form.validate({"größe": "s"}), None)) == "s"
    with pytest.raises(InputsError, match="two spellings"):
        form.validate({"größe": "s", spelt: "m"})
    with pytest.raises(F.FormError, match="is taken"):
        F.Model(F.InputText(name=spelt), F.InputText(name="größe"))


def test_enforces_patterns_that_other_engines_cannot() -> None:
    """The time only grows with the text."""
    schema = {"type": "array", "items": {"type": "string", "pattern": "(a+)+b"}}
    began = time.thread_time()
    assert nested.find_problems(["a" * 50, "ab"], schema) == ["[0]: must match the pattern (a+)+b"]
    assert time.thread_time() - began < 1


def test_skips_patterns_on_long_lists() -> None:
    """The flow checks them in its own process, so the launch is accepted."""
    schema = {"type": "array", "items": {"type": "string", "pattern": "^[ab]*a[ab]{300}c$"}}
    began = time.thread_time()
    assert nested.find_problems(["ab" * 10_000] * 1000, schema) == []
    assert time.thread_time() - began < 1
    many = {f"p{n}": {"type": "string", "pattern": rf"^\w{{1,20}}{n}$"} for n in range(1000)}
    began = time.thread_time()
    nested.find_problems(dict.fromkeys(many, "x"), {"type": "object", "properties": many})
    assert time.thread_time() - began < 1
