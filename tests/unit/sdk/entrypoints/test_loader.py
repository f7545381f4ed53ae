"""Entrypoints: find them by name, read their inputs, and call them."""

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import math
import pathlib
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

from koco import forms as F  # noqa: N812
from koco.errors import GLOBAL_FIELD, DeployError, InputsError
from koco.sdk.entrypoints.loader import bind, form_of, is_async, load


class Color(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark-blue"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Order:
    item: str
    day: dt.date
    color: Color = Color.RED
    tags: list[str] = dataclasses.field(default_factory=list)
    secret: int = dataclasses.field(default=7, init=False)

    def __post_init__(self) -> None:
        if self.item == "nothing":
            raise ValueError("there is nothing to order")


class Query(TypedDict):
    text: str
    limit: NotRequired[int]


class Topic(pydantic.BaseModel):
    topic: str = pydantic.Field(title="The topic", description="What about", min_length=2)
    code: str = pydantic.Field("A1", pattern="^[A-Z][0-9]$")
    count: int = pydantic.Field(3, ge=1, lt=10)
    share: float = pydantic.Field(0.5, gt=0, le=1)
    color: Color = Color.DARK_BLUE
    orders: list[Order] = []
    made: str = pydantic.Field(default_factory=lambda: "made at the call")
    odd: int = pydantic.Field(1, alias="oddOne")
    key: pydantic.SecretStr | None = None

    @pydantic.field_validator("odd")
    @classmethod
    def _is_odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value


def fields(entrypoint: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Return the form's elements by name, without their name and label."""
    form = form_of(entrypoint)
    assert form is not None
    found = {each.pop("name"): each for each in form.to_list()}
    for each in found.values():
        each.pop("label")
    return found


def called(entrypoint: Callable[..., Any], raw: dict[str, Any], tracer: Any = None) -> Any:
    """Return the callable's result for inputs that went through its form."""
    form = form_of(entrypoint)
    inputs = raw if form is None else form.validate(raw)
    return entrypoint(**bind(entrypoint, inputs, tracer))


def refused(entrypoint: Callable[..., Any], raw: dict[str, Any]) -> dict[str, list[str]]:
    """Return the messages by field of inputs that the form or the binding must refuse."""
    with pytest.raises(InputsError) as caught:
        called(entrypoint, raw)
    return caught.value.errors


@pytest.fixture
def project(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that writes modules, which the test can then import."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(**modules: str) -> None:
        for name, text in modules.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


class TestLoad:
    def test_finds_objects_by_colon_or_dot(self, project: Callable[..., None]) -> None:
        """Nested attributes too."""
        project(
            shop__app="""
            class Desk:
                @staticmethod
                def run(): return "ran"
            def run(): return "plain"
            """
        )
        for path in ("shop.app:run", "shop.app.run"):
            assert load(path)() == "plain"
        for path in ("shop.app:Desk.run", "shop.app.Desk.run"):
            assert load(path)() == "ran"

    def test_a_missing_attribute_has_a_suggestion(self, project: Callable[..., None]) -> None:
        """The error names the module, the attribute and the nearest existing one."""
        project(shop="def greet(): ...")
        with pytest.raises(DeployError) as caught:
            load("shop:gret")
        assert "module 'shop' has no 'gret'" in caught.value.message
        assert caught.value.hint == "did you mean 'greet'?"
        with pytest.raises(DeployError, match=r"object 'shop\.greet' has no 'x'"):
            load("shop.greet.x")

    @pytest.mark.parametrize("path", ["shap.app:run", "shap.app.run"])
    def test_a_missing_module_has_a_suggestion(
        self, project: Callable[..., None], path: str
    ) -> None:
        """It is distinguished from a module that the user's module fails to import."""
        project(shop__app="def run(): ...")
        with pytest.raises(DeployError) as caught:
            load(path)
        assert "the module 'shap', which does not exist" in caught.value.message
        assert caught.value.hint == "did you mean 'shop'?"

    def test_the_standard_library_is_not_suggested(self) -> None:
        """No flow is in it."""
        with pytest.raises(DeployError) as caught:
            load("jsn:run")
        assert caught.value.hint == "is it among the files that are shipped?"

    def test_a_file_name_is_not_a_module(self) -> None:
        """The hint has the spelling that works."""
        with pytest.raises(DeployError) as caught:
            load("shop.py:run")
        assert caught.value.hint == "name the module, not its file: shop:run"

    @pytest.mark.parametrize("text", ["import not_there_at_all", "1 / 0", "def run(:"])
    @pytest.mark.parametrize("path", ["shop.app:run", "shop.app.run"])
    def test_lets_errors_of_the_users_module_through(
        self, project: Callable[..., None], path: str, text: str
    ) -> None:
        """Missing imports, exceptions and syntax errors are raised unchanged."""
        project(shop__app=text)
        with pytest.raises((ModuleNotFoundError, ZeroDivisionError, SyntaxError)) as caught:
            load(path)
        assert not isinstance(caught.value, DeployError)
        if isinstance(caught.value, ModuleNotFoundError):
            assert caught.value.name == "not_there_at_all"

    def test_rejects_objects_that_are_not_callable(self, project: Callable[..., None]) -> None:
        """A module or a number is not an entrypoint."""
        project(shop="number = 3", store__app="")
        with pytest.raises(DeployError, match="is not callable, but an int"):
            load("shop:number")
        import store.app  # type: ignore[import-not-found]  # noqa: F401

        with pytest.raises(DeployError, match="is not callable, but a module"):
            load("store.app")

    @pytest.mark.parametrize("path", ["run", "", "a/b:run", "a:", ":run", "a:b:c", "a..b", "a-b:c"])
    def test_rejects_invalid_paths(self, path: str) -> None:
        """The message shows the right form."""
        with pytest.raises(DeployError, match="is not in the form module:object") as caught:
            load(path)
        assert "module:object" in str(caught.value.hint)


class TestForm:
    def test_each_type_has_its_form_element(self) -> None:
        """Without a default they are required."""

        def flow(
            a: str, b: int, c: float, d: bool, e: dt.date, f: dt.time, g: dt.datetime, tracer: Any
        ) -> None: ...

        assert fields(flow) == {
            "a": {"type": "text", "required": True},
            "b": {"type": "number", "required": True, "step": 1},
            "c": {"type": "number", "required": True, "step": "any"},
            "d": {"type": "boolean"},
            "e": {"type": "date", "required": True},
            "f": {"type": "time", "required": True},
            "g": {"type": "datetime-local", "required": True},
        }

    def test_choices_become_selects(self) -> None:
        """Literals by their text, enums by their values, labelled by their names."""

        def flow(a: Literal["x", 2], b: Color, c: Level, d: bool | None = None) -> None: ...

        found = fields(flow)
        assert [each["type"] for each in found.values()] == ["select"] * 4
        assert found["a"]["option"] == [{"name": "x"}, {"name": "2"}]
        assert found["b"]["option"][1] == {"name": "dark-blue", "label": "Dark blue"}
        assert found["c"]["option"] == [
            {"name": "1", "label": "Low"},
            {"name": "2", "label": "High"},
        ]
        assert found["d"]["option"] == [{"name": "true"}, {"name": "false"}]

    def test_a_default_choice_must_have_the_same_type(self) -> None:
        """True is not 1, though Python says they are equal."""

        def flow(a: Literal[1, True] = True) -> Any:
            return a

        assert fields(flow)["a"]["value"] == "true"
        assert called(flow, {}) is True

    def test_everything_else_is_json(self) -> None:
        """Lists, dicts, Any, unions, dataclasses, and parameters without a hint."""

        def flow(a: list[int], b: dict[str, Any], c: Any, d: int | str, e: Order, f, g: Access): ...  # type: ignore[no-untyped-def]

        assert {each["type"] for each in fields(flow).values()} == {"json"}

    def test_decimals_paths_and_uuids_are_text(self) -> None:
        """A decimal is not turned into a JSON number."""

        def flow(a: pathlib.Path, b: uuid.UUID, c: decimal.Decimal) -> None: ...

        assert {each["type"] for each in fields(flow).values()} == {"text"}
        number = uuid.uuid4()
        kwargs = bind(flow, {"a": "/1", "b": str(number), "c": "3.10"}, None)
        assert kwargs == {"a": pathlib.Path("/1"), "b": number, "c": decimal.Decimal("3.10")}

    def test_defaults_become_values_and_make_inputs_optional(self) -> None:
        """In their JSON form; those that JSON cannot hold are left to the function."""

        def flow(
            a: str = "World",
            b: int = 3,
            c: bool = True,
            d: Color = Color.DARK_BLUE,
            e: dt.date = dt.date(2026, 1, 31),
            f: list[int] = [1, 2],  # noqa: B006
            g: Any = object(),  # noqa: B008
            h: float = math.inf,
            i: Any = "3",
            j: pathlib.Path = pathlib.Path("/tmp"),
            k="7",  # type: ignore[no-untyped-def]
        ) -> tuple[Any, ...]:
            return a, b, c, d, e, f, g, h, i, j, k

        found = fields(flow)
        assert {name: each.get("value") for name, each in found.items()} == {
            "a": "World",
            "b": 3,
            "c": True,
            "d": "dark-blue",
            "e": "2026-01-31",
            "f": [1, 2],
            "g": None,
            "h": None,
            "i": None,
            "j": "/tmp",
            "k": "7",
        }
        assert not any(each.get("required") for each in found.values())
        # Exactly the function's own defaults.
        assert called(flow, {}) == flow()

    def test_optional_inputs_are_not_required(self) -> None:
        """With `| None` and no default, a missing value means None."""

        def flow(a: str | None, b: int | None, c: list[int] | None) -> tuple[Any, ...]:
            return a, b, c

        assert not any(each.get("required") for each in fields(flow).values())
        assert called(flow, {}) == (None, None, None)

    def test_labels_come_from_names(self) -> None:
        """In a readable form; a title takes precedence."""

        def flow(max_size: int, b: Annotated[int, pydantic.Field(title="The B")]) -> None: ...

        form = form_of(flow)
        assert form is not None
        assert [each.label for each in form.fields] == ["Max size", "The B"]

    def test_constraints_become_properties(self) -> None:
        """Those in `Annotated`, from any library; exclusive limits become the next number."""

        def flow(
            a: Annotated[int, pydantic.Field(gt=2, lt=7)],
            b: Annotated[int, pydantic.Field(gt=2.5, le=7)] | None,
            c: Annotated[str, msgspec.Meta(min_length=2, max_length=4, pattern="^[a-z]+$")],
            d: Annotated[str, pydantic.Field(pattern="x")],
            e: Annotated[float, pydantic.Field(ge=0, lt=1), "a note"],
            f: Annotated[dt.date, pydantic.Field(ge=dt.date(2026, 1, 1))],
        ) -> None: ...

        found = fields(flow)
        assert (found["a"]["min_value"], found["a"]["max_value"]) == (3, 6)
        assert (found["b"]["min_value"], found["b"]["max_value"]) == (3, 7)
        assert found["c"] == {
            "type": "text",
            "required": True,
            "min_length": 2,
            "max_length": 4,
            "pattern": "^[a-z]+$",
        }
        form = form_of(flow)
        assert form is not None
        good = {"a": 3, "b": None, "c": "ab", "d": "axb", "e": 0, "f": "2026-01-01"}
        assert form.validate(good)["d"] == "axb"
        with pytest.raises(InputsError) as caught:
            form.validate({**good, "d": "ab", "e": 1, "f": "2025-12-31"})
        assert set(caught.value.errors) == {"d", "e", "f"}

    @pytest.mark.parametrize(
        ("limits", "value", "told"),
        [
            ({"ge": 0, "lt": 1}, 1.0, "must be less than 1, got 1.0"),
            ({"gt": 0}, 0.0, "must be greater than 0, got 0.0"),
            ({"gt": 0.1}, 0.1, "must be greater than 0.1, got 0.1"),
            ({"lt": -2.5}, 0.5, "must be less than -2.5, got 0.5"),
            ({"le": 0.3}, 0.5, "must be at most 0.3, got 0.5"),
            ({"ge": 1.0}, 0.5, "must be at least 1.0, got 0.5"),
        ],
    )
    def test_an_exclusive_limit_is_shown_as_written(
        self, limits: dict[str, Any], value: float, told: str
    ) -> None:
        """And not as the float next to it, which the form uses."""

        def flow(share: float) -> None: ...

        flow.__annotations__["share"] = Annotated[float, pydantic.Field(**limits)]
        assert refused(flow, {"share": value}) == {"share": [told]}

    def test_an_unresolvable_hint_does_not_affect_others(
        self, project: Callable[..., None]
    ) -> None:
        """With an import for type checkers only, just that parameter loses its type."""
        project(
            lazy="""
            from __future__ import annotations
            from typing import TYPE_CHECKING
            if TYPE_CHECKING:
                from nowhere import Thing
            def flow(a: int, b: Thing, c: str = "x", tracer: Thing = None): return a, b, c
            """
        )
        flow = load("lazy:flow")
        assert [each["type"] for each in fields(flow).values()] == ["number", "json", "text"]
        assert called(flow, {"a": "1", "b": [2]}) == (1, [2], "x")

    def test_resolves_aliases_and_new_types(self) -> None:
        """They mean their underlying types."""
        name = NewType("name", str)

        def flow(a: name) -> None: ...  # type: ignore[valid-type]

        assert fields(flow)["a"]["type"] == "text"

    def test_there_is_no_form_if_any_object_is_accepted(self) -> None:
        """Plain inputs, or `**kwargs`."""

        def plain(inputs: dict[str, Any], tracer: Any) -> None: ...
        def bare(inputs, tracer): ...  # type: ignore[no-untyped-def]
        def mapping(inputs: Mapping[str, Any]) -> None: ...
        def anything(inputs: Any) -> None: ...
        def optional(inputs: dict[str, Any] | None = None) -> None: ...
        def spread(tracer: Any, **kwargs: Any) -> None: ...

        for flow in (plain, bare, mapping, anything, optional, spread):
            assert form_of(flow) is None, flow

    def test_a_flow_without_inputs_has_an_empty_form(self) -> None:
        """It refuses inputs rather than dropping them."""

        def flow(tracer: Any) -> None: ...

        assert form_of(flow) == F.Model()
        assert refused(flow, {"a": 1}) == {"a": ["is not a field of this form; there are none"]}

    def test_rejects_callables_that_cannot_be_called_by_name(self) -> None:
        """Before the deploy, and not only when it runs."""

        def by_position(a: int, /) -> None: ...

        with pytest.raises(DeployError, match="by position only"):
            form_of(by_position)
        with pytest.raises(DeployError, match="method without its instance"):
            form_of(TestForm.test_labels_come_from_names)


class TestModels:
    def test_a_dataclasss_fields_become_the_form(self) -> None:
        """And the function gets an instance."""

        def flow(inputs: Order, tracer: Any) -> Order:
            return inputs

        assert {name: each["type"] for name, each in fields(flow).items()} == {
            "item": "text",
            "day": "date",
            "color": "select",
            "tags": "json",
        }
        assert called(flow, {"item": "lamp", "day": "2026-01-31"}) == Order(
            "lamp", dt.date(2026, 1, 31)
        )
        full = {"item": "lamp", "day": "2026-01-31", "color": "dark-blue", "tags": '["a"]'}
        assert called(flow, full).color is Color.DARK_BLUE
        assert called(flow, full).tags == ["a"]

    def test_a_dataclass_may_reject_inputs(self) -> None:
        """Wrong elements by field; errors of its own checks have no field."""

        def flow(inputs: Order) -> None: ...

        day = {"day": "2026-01-31"}
        (only,) = refused(flow, {"item": "a", **day, "tags": [1]})["tags"]
        assert "Expected `str`, got `int`" in only
        assert refused(flow, {"item": "nothing", **day}) == {
            GLOBAL_FIELD: ["there is nothing to order"]
        }

    def test_a_typed_dicts_keys_become_the_form(self) -> None:
        """Keys that are neither given nor required stay absent."""

        def flow(inputs: Query) -> Query:
            return inputs

        assert fields(flow)["text"]["required"]
        assert "required" not in fields(flow)["limit"]
        assert called(flow, {"text": "x"}) == {"text": "x"}
        assert called(flow, {"text": "x", "limit": "3"}) == {"text": "x", "limit": 3}

    def test_a_typed_dicts_hints_may_be_strings(self, project: Callable[..., None]) -> None:
        """As with `from __future__ import annotations`."""
        project(
            typed="""
            from __future__ import annotations
            from typing import NotRequired, TypedDict
            class Query(TypedDict):
                text: str
                limit: NotRequired[int]
            def flow(inputs: Query): return inputs
            """
        )
        flow = load("typed:flow")
        assert "required" not in fields(flow)["limit"]
        assert called(flow, {"text": "x"}) == {"text": "x"}

    def test_a_pydantic_models_fields_become_the_form(self) -> None:
        """With titles, descriptions, constraints, defaults and aliases."""

        def flow(inputs: Topic) -> Topic:
            return inputs

        form = form_of(flow)
        assert form is not None
        assert form.fields[0] == F.InputText(
            name="topic",
            label="The topic",
            placeholder="What about",
            required=True,
            min_length=2,
        )
        found = fields(flow)
        assert found["code"]["pattern"] == "^[A-Z][0-9]$"
        assert found["count"] == {
            "type": "number",
            "value": 3,
            "min_value": 1,
            "max_value": 9,
            "step": 1,
        }
        assert found["color"]["value"] == "dark-blue"
        assert "value" not in found["made"]
        assert "oddOne" in found
        assert found["key"]["type"] == "password"

    def test_the_function_gets_a_pydantic_model(self) -> None:
        """Made by the model's own rules, nested values too."""

        def flow(inputs: Topic) -> Topic:
            return inputs

        orders = '[{"item": "lamp", "day": "2026-01-31"}]'
        made = called(flow, {"topic": "night", "orders": orders, "oddOne": 3, "key": "k"})
        assert made == Topic(
            topic="night",
            orders=[Order("lamp", dt.date(2026, 1, 31))],
            oddOne=3,
            key=pydantic.SecretStr("k"),
        )
        assert made.made == "made at the call"

    def test_a_pydantic_model_may_reject_inputs(self) -> None:
        """Its messages are with their fields, and name the place inside."""

        def flow(inputs: Topic) -> None: ...

        found = refused(flow, {"topic": "night", "oddOne": 2})
        assert found == {"oddOne": ["must be odd"]}
        # The form itself refuses what needs none of the model's code.
        found = refused(flow, {"topic": "night", "oddOne": 2, "orders": [{"item": "a"}]})
        assert found == {"orders": ["[0].day: is required"]}

    def test_a_model_can_be_combined_with_other_parameters(self) -> None:
        """The form has the fields of both; each gets its own."""

        def flow(inputs: Query, times: int) -> tuple[Query, int]:
            return inputs, times

        assert list(fields(flow)) == ["text", "limit", "times"]
        assert called(flow, {"text": "a", "times": 2}) == ({"text": "a"}, 2)

    def test_converts_to_other_classes(self) -> None:
        """For example to a struct: there is no form, but the type is kept."""

        class Pair(msgspec.Struct):
            a: int
            b: int = 2

        def flow(inputs: Pair) -> Pair:
            return inputs

        assert called(flow, {"a": "1"}) == Pair(1, 2)
        assert list(refused(flow, {"a": "x"})) == [GLOBAL_FIELD]


class TestBind:
    def test_passes_inputs_and_tracer_only_if_the_signature_names_them(self) -> None:
        """Nothing else is passed."""

        def both(inputs: dict[str, Any], tracer: Any) -> None: ...
        def tracer_only(tracer: Any) -> None: ...
        def neither() -> None: ...
        def mixed(inputs: dict[str, Any], who: str, tracer: Any) -> None: ...

        given = {"who": "x"}
        assert bind(both, given, "T") == {"inputs": given, "tracer": "T"}
        assert bind(both, given, "T")["inputs"] is not given
        assert bind(tracer_only, {}, "T") == {"tracer": "T"}
        assert bind(neither, {}, "T") == {}
        assert bind(mixed, given, "T") == {"inputs": given, "who": "x", "tracer": "T"}

    def test_converts_values_to_their_hints(self) -> None:
        """Enums, literals, dates inside lists, dataclasses, models, paths."""

        def flow(
            a: Color,
            b: Literal["x", 2, True],
            c: list[dt.date],
            d: Order,
            e: Topic,
            f: list[Topic],
            g: tuple[int, ...],
            h: set[str],
            i: Level | None,
            j: bool | None,
        ) -> dict[str, Any]:
            return dict(locals())

        order = {"item": "lamp", "day": "2026-01-31", "color": "dark-blue"}
        raw = {
            "a": "dark-blue",
            "b": 2,
            "c": '["2026-01-31"]',
            "d": json.dumps(order),
            "e": {"topic": "night"},
            "f": [{"topic": "night"}],
            "g": ["1", 2],
            "h": ["a", "a"],
            "i": 2,
            "j": "false",
        }
        assert called(flow, raw) == {
            "a": Color.DARK_BLUE,
            "b": 2,
            "c": [dt.date(2026, 1, 31)],
            "d": Order("lamp", dt.date(2026, 1, 31), Color.DARK_BLUE),
            "e": Topic(topic="night"),
            "f": [Topic(topic="night")],
            "g": (1, 2),
            "h": {"a"},
            "i": Level.HIGH,
            "j": False,
        }

    def test_reports_all_errors_at_once_by_field(self) -> None:
        """In the form's words, before any of the flow's code runs."""

        def flow(a: list[int], b: Order, c: Topic) -> None: ...

        found = refused(flow, {"a": ["x"], "b": {"item": "a"}, "c": {"topic": "x"}})
        assert set(found) == {"a", "b", "c"}
        assert found["b"] == ["day: is required"]

    def test_a_missing_value_means_the_functions_default(self) -> None:
        """A blank number is not passed as None to a function that wants an int."""

        def flow(a: int = 3, b: int | None = 4) -> tuple[Any, ...]:
            return a, b

        assert called(flow, {"a": "", "b": ""}) == (3, None)
        assert called(flow, {}) == (3, 4)

    def test_a_manifests_form_may_differ_from_the_signature(self) -> None:
        """Missing and unknown inputs are reported, never dropped."""

        def flow(who: str, times: int = 2) -> tuple[Any, ...]:
            return who, times

        assert flow(**bind(flow, {"who": "x"}, None)) == ("x", 2)
        for inputs in ({"who": None}, {"times": 1}):
            with pytest.raises(InputsError, match="who: is required"):
                bind(flow, inputs, None)
        with pytest.raises(InputsError, match="other: is not an input of the entrypoint"):
            bind(flow, {"who": "x", "other": 1}, None)

    def test_kwargs_receive_the_remaining_inputs(self) -> None:
        """But no input may take the tracer's place."""

        def flow(tracer: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
            return tracer, kwargs

        assert called(flow, {"a": 1, "b": [2]}, "T") == ("T", {"a": 1, "b": [2]})
        assert "tracer" in refused(flow, {"tracer": 1})

    def test_partials_methods_objects_and_decorators_work(self) -> None:
        """Any callable has the signature that it shows."""

        def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return function(*args, **kwargs)

            return wrapper

        class Desk:
            def method(self, a: int, b: str = "x") -> tuple[Any, ...]:
                return a, b

            __call__ = method

        def plain(a: int, b: str = "x") -> tuple[Any, ...]:
            return a, b

        for flow in (plain, wrapped(plain), Desk().method, Desk(), functools.partial(plain)):
            assert fields(flow)["a"] == {"type": "number", "required": True, "step": 1}
            assert called(flow, {"a": "1"}) == (1, "x")
        bound = functools.partial(plain, b="bound")
        assert fields(bound)["b"]["value"] == "bound"
        assert called(bound, {"a": "1"}) == (1, "bound")

    def test_passes_values_unchanged_if_no_conversion_is_known(self) -> None:
        """A hint that no library knows does not stop the flow."""

        def flow(a: dt.date | dt.datetime, b: "Callable[[], int] | None" = None) -> tuple[Any, ...]:
            return a, b

        assert called(flow, {"a": "2026-01-31"}) == ("2026-01-31", None)


class TestIsAsync:
    def test_recognises_coroutine_functions_in_any_wrapper(self) -> None:
        """Partials, decorators, methods and objects."""

        async def flow() -> None: ...

        class Desk:
            async def method(self) -> None: ...

            async def __call__(self) -> None: ...

        @functools.wraps(flow)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            return flow(*args, **kwargs)

        for each in (flow, Desk(), Desk().method, functools.partial(flow), decorated):
            assert is_async(each), each
        assert is_async(functools.partial(functools.partial(Desk())))

    def test_other_callables_are_not_async(self) -> None:
        """Plain functions, objects and classes, whatever their methods are."""

        class Desk:
            def __call__(self) -> None: ...

            async def method(self) -> None: ...

        def plain() -> None: ...

        for each in (plain, Desk(), Desk, functools.partial(plain), print):
            assert not is_async(each), each


def test_neither_ray_nor_pydantic_is_imported() -> None:
    """The runner, tests and the CLI load little."""
    code = textwrap.dedent(
        """
        import sys
        from koco.sdk.entrypoints import loader
        def flow(a: int, b: list[str], tracer): ...
        form = loader.form_of(flow)
        loader.bind(flow, form.validate({"a": 1, "b": ["x"]}), None)
        bad = {"ray", "pydantic", "litestar", "httpx", "typer"} & set(sys.modules)
        assert not bad, bad
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_forms_need_only_the_standard_library() -> None:
    """A form does not import msgspec."""
    code = "import sys, koco.forms; assert not {'msgspec', 'pydantic', 'yaml'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
