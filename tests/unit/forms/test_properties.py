"""Properties of all forms: the same in Python, YAML, JSON and a signature; hostile inputs."""

import datetime as dt
import enum
import inspect
import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koco import forms as F  # noqa: N812
from koco.errors import GLOBAL_FIELD, InputsError
from koco.manifest.load import parse
from koco.sdk.entrypoints.loader import form_of
from tests.unit.conftest import examples

# text that YAML can hold: what it cannot, no manifest has
_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)
_NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
_COUNTS = st.integers(0, 1000)
_NUMBERS = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def _elements(cls: type[F.Element], **properties: st.SearchStrategy[Any]) -> Any:
    """Return a strategy of elements, with any of the properties set or not."""

    def make(set_: dict[str, Any]) -> F.Element | None:
        try:
            return cls(**{name: value for name, value in set_.items() if value is not None})
        except F.FormError:  # limits that cross, a default outside of them
            return None

    return st.fixed_dictionaries(properties).map(make).filter(lambda each: each is not None)


_BASE = {"name": _NAMES, "label": _maybe(_WORDS), "required": st.booleans()}
_SHOWN = {**_BASE, "placeholder": _maybe(_WORDS)}
_TEXT = {
    **_SHOWN,
    "value": _maybe(_WORDS),
    "min_length": _maybe(st.integers(0, 5)),
    "max_length": _maybe(_COUNTS),
}
_LINE = {**_TEXT, "size": _maybe(_COUNTS), "pattern": _maybe(st.just("(?s).*"))}
_MONTHS = st.from_regex(r"[12][0-9]{3}-(0[1-9]|1[0-2])", fullmatch=True)
_WEEKS = st.from_regex(r"[12][0-9]{3}-W[1-4][0-9]", fullmatch=True)
_COLORS = st.from_regex(r"#[0-9a-fA-F]{6}", fullmatch=True)
_DAYS, _TIMES, _MOMENTS = st.dates(), st.times(), st.datetimes()
_OPTIONS = st.lists(
    st.builds(F.InputOption, _WORDS, _maybe(_WORDS)), min_size=1, unique_by=lambda each: each.name
)
_JSON = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=5,
)
ELEMENTS: dict[type[F.Element], dict[str, st.SearchStrategy[Any]]] = {
    F.InputText: _LINE,
    F.InputPassword: {**_LINE, "show_toggle": st.booleans()},
    F.InputArea: {**_TEXT, "rows": _maybe(_COUNTS), "cols": _maybe(_COUNTS)},
    F.InputNumber: {
        **_SHOWN,
        "value": _maybe(_NUMBERS),
        "size": _maybe(_COUNTS),
        "pattern": _maybe(st.just("[-0-9.e]+")),
        "min_value": _maybe(_NUMBERS),
        "max_value": _maybe(_NUMBERS),
        "step": _maybe(st.sampled_from([1, 2, 0.5, "any"])),
    },
    F.InputDate: {
        **_SHOWN,
        "value": _maybe(_DAYS),
        "min_date": _maybe(_DAYS),
        "max_date": _maybe(_DAYS),
    },
    F.InputTime: {
        **_SHOWN,
        "value": _maybe(_TIMES),
        "min_time": _maybe(_TIMES),
        "max_time": _maybe(_TIMES),
        "step": _maybe(st.just(0.001)),
    },
    F.InputDateTime: {
        **_SHOWN,
        "value": _maybe(_MOMENTS),
        "min_datetime": _maybe(_MOMENTS),
        "max_datetime": _maybe(_MOMENTS),
        "step": _maybe(st.just(0.001)),
    },
    F.Checkbox: {
        "name": _NAMES,
        "label": _maybe(_WORDS),
        "option": _maybe(_WORDS),
        "value": st.booleans(),
    },
    F.Select: {**_BASE, "option": _OPTIONS},
    F.InputRadio: {**_BASE, "option": _OPTIONS},
    F.InputEmail: {**_LINE, "value": _maybe(st.just("ada@example.org"))},
    F.InputUrl: {**_LINE, "value": _maybe(st.just("https://example.org/a?b#c"))},
    F.InputTel: {**_LINE, "value": _maybe(st.just("+49 30 123456"))},
    F.InputSearch: _LINE,
    F.InputMonth: {
        **_BASE,
        "value": _maybe(_MONTHS),
        "min_month": _maybe(_MONTHS),
        "max_month": _maybe(_MONTHS),
    },
    F.InputWeek: {
        **_BASE,
        "value": _maybe(_WEEKS),
        "min_week": _maybe(_WEEKS),
        "max_week": _maybe(_WEEKS),
    },
    F.InputColor: {**_BASE, "value": _maybe(_COLORS)},
    F.InputRange: {
        **_BASE,
        "value": _maybe(_NUMBERS),
        "min_value": _maybe(_NUMBERS),
        "max_value": _maybe(_NUMBERS),
        "step": _maybe(st.sampled_from([1, 2, 0.5, "any"])),
    },
    F.InputHidden: {"name": _NAMES, "label": _maybe(_WORDS), "value": _WORDS},
    F.DisplayInfo: {"text": _WORDS, "label": _maybe(_WORDS)},
    F.InputFiles: {**_BASE, "multiple": st.booleans(), "directory": st.booleans()},
    F.InputJSON: {**_SHOWN, "value": _maybe(_JSON), "json_schema": st.none()},
    F.Submit: {"text": _WORDS},
    F.Cancel: {"text": _WORDS},
    F.Action: {"name": _NAMES, "value": _WORDS, "text": _maybe(_WORDS)},
    F.Markdown: {"text": _WORDS},
    F.HTML: {"text": _WORDS},
    F.Break: {},
    F.HR: {},
    F.Errors: {},
}


def manifest_form(form: F.Model) -> F.Model:
    """Return a form that has been through a manifest's YAML."""
    flow = {"name": "f", "entrypoint": "m:f", "inputs": form.to_list()}
    # JSON is YAML, and PyYAML's writer does not quote all texts that are numbers in YAML 1.2.
    text = json.dumps({"service": "s", "flows": [flow]}, ensure_ascii=False)
    inputs = parse(text).flows[0].inputs
    assert inputs is not None
    return F.Model.from_list(inputs)


def outcome(form: F.Model, raw: object) -> Any:
    """Return the result of a form's validation: typed values, or the messages."""
    try:
        return repr(form.validate(raw))
    except InputsError as exc:
        return exc.errors


def test_every_element_and_property_is_covered_here() -> None:
    """The strategies have the elements' properties."""
    assert set(ELEMENTS) == set(F.TYPES.values())
    for cls, properties in ELEMENTS.items():
        known = set(inspect.signature(cls).parameters) - (
            {"value"} if issubclass(cls, F.Select) else set()
        )
        assert set(properties) == known, cls


@pytest.mark.parametrize("cls", list(ELEMENTS), ids=lambda cls: cls.__name__)
def test_yaml_and_json_keep_an_element(cls: type[F.Element]) -> None:
    """Python, data, YAML, manifest and back: the same element."""

    @settings(max_examples=examples(20), database=None)
    @given(_elements(cls, **ELEMENTS[cls]))
    def check(element: F.Element) -> None:
        form = F.Model(element)
        assert F.Model.from_list(json.loads(json.dumps(form.to_list()))) == form
        again = manifest_form(form)
        assert again == form
        assert again.to_list() == form.to_list()
        jsonschema.Draft202012Validator.check_schema(form.json_schema())

    check()


class Tone(enum.Enum):
    LOW = "low"
    HIGH = "high"


HINTS: list[tuple[Any, Any]] = [
    (str, "a"),
    (str | None, None),
    (int, 3),
    (float, 0.5),
    (bool, True),
    (bool | None, None),
    (dt.date, dt.date(2026, 1, 31)),
    (dt.time, dt.time(9, 30)),
    (dt.datetime, dt.datetime(2026, 1, 31, 9, 30)),
    (Literal["x", "y"], "y"),
    (Tone, Tone.HIGH),
    (list[int], [1, 2]),
    (dict[str, Any], {"a": None}),
    (Path, Path("a/b")),
    (Annotated[int, "a note"], 1),
    (Any, None),
]
_RAW = st.sampled_from(
    ["", "x", "low", "3", "2.5", "true", "2026-01-31", "09:30", '["a"]', "[", 3, 2.5, True, None]
)


@settings(max_examples=examples(40), database=None)
@given(
    st.lists(st.tuples(st.sampled_from(HINTS), st.booleans()), min_size=1, max_size=6),
    st.dictionaries(st.sampled_from(["p0", "p1", "p2", "p3", "p9"]), _RAW),
)
def test_a_signature_and_its_manifest_validate_alike(
    chosen: list[tuple[tuple[Any, Any], bool]], raw: dict[str, Any]
) -> None:
    """A form made from a signature and its copy in a manifest accept and refuse the same."""
    form = form_of(_function(chosen))
    assert form is not None
    declared = manifest_form(form)
    assert declared == form
    assert outcome(declared, raw) == outcome(form, raw)


def _function(chosen: list[tuple[tuple[Any, Any], bool]]) -> Any:
    """Return a function with parameters `p0`, `p1`, …, of hints, with defaults or without."""

    def run(**_: Any) -> None: ...

    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(
            f"p{number}",
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hint,
            default=default if has_default else empty,
        )
        for number, ((hint, default), has_default) in enumerate(chosen)
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


class TestPositional:
    """Positional arguments, in the order of the table in the programming model."""

    @pytest.mark.parametrize(
        ("short", "long"),
        [
            (F.InputText("a", "A", "v"), F.InputText(name="a", label="A", value="v")),
            (F.InputArea("a", "A"), F.InputArea(name="a", label="A")),
            (
                F.InputNumber("a", "A", 3, True, "p", 5, "[0-9]+", 1, 9, 1),
                F.InputNumber(
                    **{"name": "a", "label": "A", "value": 3, "required": True, "placeholder": "p"},
                    **{"size": 5, "pattern": "[0-9]+", "min_value": 1, "max_value": 9, "step": 1},
                ),
            ),
            (F.Select("a", "A", option=["x"]), F.Select(name="a", label="A", option=["x"])),
            (F.InputDate("a", "A"), F.InputDate(name="a", label="A")),
            (F.InputFiles("a", "A", True), F.InputFiles(name="a", label="A", required=True)),
            (F.Action("a", "v", "T"), F.Action(name="a", value="v", text="T")),
            (F.Submit("Go"), F.Submit(text="Go")),
            (F.InputHidden("a", "v"), F.InputHidden(name="a", value="v")),
            (F.DisplayInfo("T", "L"), F.DisplayInfo(text="T", label="L")),
            (
                F.InputMonth("a", "A", "2026-02", True, "2026-01", "2026-03"),
                F.InputMonth(
                    **{"name": "a", "label": "A", "value": "2026-02", "required": True},
                    **{"min_month": "2026-01", "max_month": "2026-03"},
                ),
            ),
            (
                F.InputRange("a", "A", 3, True, 1, 9, 2),
                F.InputRange(
                    **{"name": "a", "label": "A", "value": 3, "required": True},
                    **{"min_value": 1, "max_value": 9, "step": 2},
                ),
            ),
        ],
    )
    def test_name_and_label_need_no_keyword(self, short: F.Element, long: F.Element) -> None:
        """They are the first properties of the table."""
        assert short == long


def test_markdown_drops_shared_indentation() -> None:
    """Otherwise it would be a block of code."""
    assert F.Markdown("\n    # A\n      b\n").text == "\n# A\n  b\n"


class TestHostile:
    """The validation runs in the control plane: no input may block it."""

    def test_refuses_100_000_unknown_fields_quickly(self) -> None:
        """The message names the first ones and counts the others."""
        form = F.Model(*(F.InputText(name=f"field_{number}") for number in range(20)))
        began = time.thread_time()
        errors = outcome(form, {f"feild_{number}": "" for number in range(100_000)})
        assert time.thread_time() - began < 1
        assert len(errors) == 21
        assert errors[GLOBAL_FIELD] == ["99980 more names are not in this form"]

    def test_accepts_a_megabyte_of_text(self) -> None:
        """If nothing limits it. Otherwise the message is short."""
        long = "x" * 1_000_000
        form = F.Model(
            F.InputText(name="text", pattern="x*"),
            F.InputArea(name="area", max_length=9),
            F.InputNumber(name="number"),
            F.Select(name="select", option=["a", "b"]),
            F.InputDate(name="date"),
            F.InputJSON(name="json"),
        )
        began = time.thread_time()
        assert outcome(form, {"text": long, "json": long}).count("x") > 2_000_000
        errors = outcome(form, {**dict.fromkeys(form.field_names, long), long: 1})
        assert time.thread_time() - began < 1
        assert set(errors) == {"area", "number", "select", "date", long[:100]}
        assert all(len(message) < 200 for each in errors.values() for message in each)

    @pytest.mark.parametrize(
        ("typed", "words"),
        [
            ("[" * 10_000, "nested too deep"),
            ('{"a": NaN}', "NaN is not JSON"),
            ('{"a": 1e999}', "finite"),
            ('{"a": 1, "a": 2}', "the key 'a' is given twice"),
            ("[" + "9" * 5000 + "]", "must be JSON"),
            ("[" + "1," * 50_000 + "1]", "at most 50000 values"),
            (json.dumps("[" + '{"a":1},' * 50_000 + "1]"), "at most 50000 values"),
            ("{" + "".join(f'"{n}":1,' for n in range(40_000)) + '"39999":1}', "given twice"),
        ],
        ids=["deep", "nan", "infinite", "twice", "digits", "values", "quoted", "keys"],
    )
    def test_refuses_broken_json(self, typed: str, words: str) -> None:
        """Quickly, and with a message instead of an internal exception."""
        began = time.thread_time()
        (only,) = outcome(F.Model(F.InputJSON(name="x")), {"x": typed})["x"]
        assert words in only
        assert time.thread_time() - began < 2
