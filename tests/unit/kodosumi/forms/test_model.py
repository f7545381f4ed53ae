"""Kodosumi's form: the values that handlers get, its data, and its form in koco."""

import inspect
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koco import forms as native
from koco.forms import text_schema
from koco.kodosumi import forms as F  # noqa: N812
from koco.kodosumi.forms.model import TYPES
from tests.unit.conftest import examples


def options() -> list[F.InputOption]:
    """Return new options, because a form changes its own."""
    return [F.InputOption("a", "A"), F.InputOption("b", "B")]


EVERY = F.Model(
    F.Markdown("# Title"),
    F.HTML("<b>bold</b>"),
    F.Break("x"),
    F.HR(),
    F.Errors(),
    F.DisplayInfo("Hello", "Note"),
    F.InputText("text", "Text", "t"),
    F.InputPassword("password"),
    F.InputArea("area"),
    F.InputEmail("email"),
    F.InputUrl("url"),
    F.InputTel("tel"),
    F.InputSearch("search"),
    F.InputHidden("hidden", "h"),
    F.InputNumber("number", value=5),
    F.InputRange("range", value=3),
    F.InputColor("color"),
    F.InputDate("date"),
    F.InputTime("time"),
    F.InputDateTime("moment"),
    F.InputMonth("month"),
    F.InputWeek("week"),
    F.Checkbox("check", value=True),
    F.Select("select", options()),
    F.InputRadio("radio", options()),
    F.InputFiles("files", multiple=True),
    F.Action("action", "go", text="Go"),
    F.Submit("Send"),
    F.Cancel("Leave"),
)


class TestCollect:
    """`collect` is what Kodosumi's POST handler makes of a body."""

    def test_values_stay_the_text_that_was_sent(self) -> None:
        """Dates, times and numbers are for the handler to parse, valid or not."""
        form = F.Model(F.InputDate("d"), F.InputNumber("n"), F.InputTime("t"), F.InputText("s"))
        sent = {"d": "2026-02-31", "n": " 3 ", "t": "", "s": " x "}
        assert form.collect(sent) == sent
        assert form.collect({"n": 3, "d": 1})["n"] == 3

    def test_absent_values_are_none_and_an_absent_box_is_off(self) -> None:
        """A form's default is only shown. Nobody sends it for the user."""
        form = F.Model(F.InputText("s", value="d"), F.Checkbox("c", value=True), F.Submit("Go"))
        assert form.collect({}) == {"s": None, "c": False}

    @pytest.mark.parametrize(("sent", "found"), [("on", True), ("true", False), (True, False)])
    def test_only_on_checks_a_box(self, sent: object, found: bool) -> None:
        """Browsers send `on`."""
        assert F.Model(F.Checkbox("c")).collect({"c": sent}) == {"c": found}

    def test_errors_and_buttons_have_keys(self) -> None:
        """`_global_` for the place of messages, and None for a button that was not pressed."""
        form = F.Model(F.Errors(), F.Action("a", "x"), F.Action(text="nameless"))
        assert form.collect({}) == {"_global_": None, "a": None}
        assert form.collect({"a": "x"})["a"] == "x"

    def test_unknown_keys_are_ignored_except_in_answers_to_locks(self) -> None:
        """A lease gets everything that was sent."""
        form = F.Model(F.InputText("s"), F.Checkbox("c"))
        assert form.collect({"s": "x", "more": 1}) == {"s": "x", "c": False}
        kept = form.collect({"s": "x", "more": 1}, keep_unknown=True)
        assert kept == {"s": "x", "more": 1, "c": False}

    def test_a_choice_that_is_no_option_passes(self) -> None:
        """And a choice that is one selects it."""
        form = F.Model(F.Select("s", options()), F.InputRadio("r", options()))
        assert form.collect({"s": "z", "r": "b"}) == {"s": "z", "r": "b"}
        assert [each.value for each in form.children[1].option] == [False, True]

    def test_a_range_becomes_a_float_if_it_is_a_number(self) -> None:
        """The only field of 1.2 that converts its value."""
        form = F.Model(F.InputRange("r"))
        assert [form.collect({"r": each})["r"] for each in ("3", "x", None)] == [3.0, "x", None]

    def test_of_equal_names_the_last_counts(self) -> None:
        """Kodosumi accepts a name twice."""
        form = F.Model(F.InputText("x"), F.Checkbox("x"))
        assert form.collect({"x": "on"}) == {"x": True}

    @pytest.mark.parametrize(
        ("sent", "found"),
        [
            (None, None),
            ("", None),
            ([], None),
            ("in/a.txt", {"a.txt"}),
            (["in/a.txt", "in/b/c.txt"], {"a.txt", "b/c.txt"}),
            ('{"items": {"1": {"filename": "a.txt"}}, "batchId": "b"}', {"a.txt"}),
            ("https://example.com/a.txt", "https://example.com/a.txt"),
        ],
    )
    def test_files_are_a_set_of_names(self, sent: object, found: object) -> None:
        """From koco's paths and from Kodosumi's uploads. A URL stays the text it is."""
        assert F.Model(F.InputFiles("f")).collect({"f": sent}) == {"f": found}

    def test_files_in_answers_to_locks_stay_as_they_were_sent(self) -> None:
        """As in Kodosumi, where the answer to a lock has the text of the upload."""
        form = F.Model(F.InputFiles("f"))
        assert form.collect({"f": "in/a.txt"}, keep_unknown=True) == {"f": "in/a.txt"}


class TestAsData:
    def test_round_trip_keeps_every_element(self) -> None:
        """`model_validate` reads the elements of `get_model`."""
        data = json.loads(EVERY.get_model_json())["elements"]
        assert data == EVERY.get_model()
        assert F.Model.model_validate(data).get_model() == data
        assert {each["type"] for each in data} == set(TYPES) - {"option"}

    def test_errors_go_to_the_fields_they_name(self) -> None:
        """And `_global_` to the place of messages."""
        data = F.Model(F.Errors(), F.InputText("a"), F.Select("b", [])).get_model()
        errors = {"a": ["bad"], "b": ["worse"], "_global_": ["all wrong"]}
        shown = F.Model.model_validate(data, errors).render()
        assert all(each in shown for each in ("bad", "worse", "all wrong"))

    def test_unknown_types_are_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        """A newer service's form is shown without what this version does not know."""
        model = F.Model.model_validate([{"type": "hologram"}, {"type": "text", "name": "a"}])
        assert [each.name for each in model.children] == ["a"]
        assert "hologram" in caplog.text

    def test_set_data_shows_what_was_sent(self) -> None:
        """Fields that were not sent keep their value; a box is then off."""
        form = F.Model(F.InputText("a", value="x"), F.InputText("b", value="y"), F.Checkbox("c"))
        form.children[2].value = True
        form.set_data({"a": "z"})
        assert [each.value for each in form.children] == ["z", "y", False]
        form.set_data({"c": "on"})
        assert form.children[2].value is True
        form.set_data({})
        assert form.children[2].value is False

    def test_every_element_is_rendered(self) -> None:
        """In order, one after the other."""
        shown = EVERY.render()
        assert shown.index('name="text"') < shown.index('name="week"') < shown.index("Leave")


class TestInKoco:
    """`to_list` is a form that koco's own model accepts."""

    def test_every_element_has_a_counterpart(self) -> None:
        """The types are the same, so that `koco run` asks for the right values."""
        found = native.Model.from_list(EVERY.to_list())
        assert [each.type for each in found.elements] == [each.type for each in EVERY.children]

    def test_properties_that_koco_refuses_are_left_out(self) -> None:
        """A form that Kodosumi accepts is never refused."""
        nothing = F.InputHidden("a", None)
        assert F.Model(nothing).to_list() == [{"type": "hidden", "name": "a", "value": ""}]
        form = F.Model(
            F.InputText("a", value=5, size="wide", pattern="(a+)+(?=b)"),
            F.InputNumber("b", value="many", min_value="0", max_value=3),
            F.InputDate("c", value="soon", min_date="2026-01-01"),
            F.Select("d", option=[], value="x"),
            F.Select("e", option=[F.InputOption("a", value=True), F.InputOption("a")], value="z"),
            F.InputFiles("f", value="x"),
            F.Checkbox("g", value="on"),
            F.InputText("h", label=3, required=1),
        )
        assert form.to_list() == [
            {"type": "text", "name": "a", "value": "5", "required": False},
            {"type": "number", "name": "b", "required": False, "min_value": "0", "max_value": 3},
            {"type": "date", "name": "c", "required": False, "min_date": "2026-01-01"},
            {"type": "text", "name": "d", "value": "x"},
            {"type": "select", "name": "e", "option": [{"name": "a"}]},
            *(
                {"type": "file", "name": "f", "required": False, "multiple": False}
                | {"directory": False},
            ),
            {"type": "boolean", "name": "g", "value": True, "option": "on"},
            {"type": "text", "name": "h", "label": "3", "required": True},
        ]
        native.Model.from_list(form.to_list())

    def test_names_occur_once(self) -> None:
        """The first element stays, and buttons may share a name."""
        form = F.Model(
            *(F.InputText("a"), F.InputNumber("a"), F.InputText("a"), F.InputText("")),
            *(F.Action("b", "x"), F.Action("b", "y"), F.Action("c"), F.InputText("b")),
            *(F.Action("a", "z"), F.Action(text="nameless")),
        )
        found = [(each["type"], each["name"]) for each in form.to_list()]
        assert found == [("text", "a"), ("action", "b"), ("action", "b"), ("action", "c")]
        native.Model.from_list(form.to_list())

    def test_patterns_that_cost_too_much_together_are_left_out(self) -> None:
        """koco limits the patterns of a whole form."""
        fields = [F.InputText(f"f{n}", pattern=f"[a-z]{{1,{900 + n}}}x") for n in range(200)]
        native.Model.from_list(F.Model(*fields).to_list())

    def test_secrets_are_hidden(self) -> None:
        """Passwords are shown in no list of inputs."""
        assert EVERY.hidden == ("password",)


_ANY = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["(", "(?=x)", "_global_", " a ", "2026-01-31", "5", "on", "[a-z]{1,999}"])
    | st.dates()
    | st.lists(st.text(max_size=3), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2)
)


@settings(max_examples=examples(200), database=None, deadline=None)
@given(st.data())
def test_any_form_that_kodosumi_accepts_can_be_shown(data: st.DataObject) -> None:
    """Whatever its arguments are, koco's own form of it is valid, and so is its JSON Schema."""
    children = []
    for _ in range(data.draw(st.integers(1, 4))):
        cls = data.draw(st.sampled_from([each for each in TYPES.values() if each.type != "option"]))
        parameters = inspect.signature(cls).parameters.values()
        names = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        given_ = {name: data.draw(_ANY, label=name) for name in names}
        if cls in (F.Select, F.InputRadio):
            chosen = data.draw(st.lists(st.tuples(_ANY, _ANY), max_size=3))
            given_["option"] = [F.InputOption(*each) for each in chosen]
        children.append(cls(**given_))
    elements = json.loads(msgspec.json.encode(F.Model(*children).to_list()))
    text_schema.of(native.Model.from_list(elements))
