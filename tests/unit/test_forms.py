"""Forms: data and back, every constraint enforced, typed values, words that help."""

import dataclasses
import datetime as dt
import json
import re
import time

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koco import forms as F  # noqa: N812
from koco import response
from koco.errors import GLOBAL_FIELD, InputsError, from_wire

EVERY = F.Model(
    F.Markdown("# Title"),
    F.HTML("<b>bold</b>"),
    F.Break(),
    F.HR(),
    F.Errors(),
    F.InputText(name="text", label="Text", placeholder="…", size=9, pattern="[a-z]*", value="abc"),
    F.InputPassword(name="password", min_length=3, max_length=8, show_toggle=True),
    F.InputNumber(name="number", min_value=0, max_value=100, value=50, step=5),
    F.InputNumber(name="ratio", step="any"),
    F.InputNumber(name="loose"),
    F.InputArea(name="area", rows=3, cols=40, max_length=1000),
    F.InputDate(name="date", min_date="2026-01-01", max_date="2026-12-31", value="2026-05-05"),
    F.InputTime(name="time", min_time="08:00", max_time="18:00", step=60),
    F.InputDateTime(
        name="moment", min_datetime="2026-01-01T00:00", max_datetime="2026-12-31 10:00"
    ),
    F.Checkbox(name="check", label="Check", option="Yes, please", value=True),
    F.Select(name="select", option=[F.InputOption("a", "A"), F.InputOption("b", value=True), "c"]),
    F.InputFiles(name="files", multiple=True),
    F.InputFiles(name="file"),
    F.InputJSON(name="json", placeholder="[]", value=["x"]),
    F.Action(name="action", value="yes", text="Yes"),
    F.Action(name="action", value="no", text="No"),
    F.Submit("Go"),
    F.Cancel(),
)


def refused(form: F.Model, raw: object) -> dict[str, list[str]]:
    """Return the messages by field of inputs that the form must refuse."""
    with pytest.raises(InputsError) as caught:
        form.validate(raw)
    return caught.value.errors


def message(element: F.Field, raw: object) -> str:
    """Return the only message about one field's value."""
    (only,) = refused(F.Model(element), {element.name: raw})[element.name]
    return only


def value(element: F.Field, raw: object) -> object:
    """Return one field's typed value."""
    return F.Model(element).validate({element.name: raw})[element.name]


def problems(data: object) -> list[F.Problem]:
    """Return what is wrong with a form's data."""
    with pytest.raises(ValueError) as caught:
        F.Model.from_list(data)
    assert isinstance(caught.value, F.FormError)
    return list(caught.value.problems)


class TestAsData:
    def test_every_element_survives_the_way_through_json(self) -> None:
        """A form is the same after to_list, JSON and from_list."""
        data = json.loads(json.dumps(EVERY.to_list()))
        assert F.Model.from_list(data) == EVERY
        assert {each["type"] for each in data} == set(F.TYPES)

    def test_only_what_is_set_is_in_the_data(self) -> None:
        """Properties with their default are left out."""
        form = F.Model(F.InputText(name="topic"), F.Submit("Go"), F.Break())
        assert form.to_list() == [
            {"type": "text", "name": "topic"},
            {"type": "submit", "text": "Go"},
            {"type": "break"},
        ]

    def test_types_are_those_of_the_programming_model(self) -> None:
        """Clients know the elements by these words."""
        words = (
            "text password number textarea date time datetime-local boolean select file json "
            "submit cancel action markdown html break hr errors"
        )
        assert " ".join(F.TYPES) == words

    def test_elements_cannot_be_changed(self) -> None:
        """An element is frozen, and what it gives away is a copy."""
        element = F.InputJSON(name="x", value=["a"])
        with pytest.raises(dataclasses.FrozenInstanceError):
            element.name = "y"  # type: ignore[misc]
        element.to_dict()["value"].append("b")
        F.Model(element).validate({})["x"].append("c")
        assert element.value == ["a"]

    def test_yaml_dates_and_preselected_options_become_typed_defaults(self) -> None:
        """What YAML makes of an unquoted date is a default like its text."""
        date, select = F.Model.from_list(
            [
                {"type": "date", "name": "day", "value": dt.date(2026, 1, 31)},
                {
                    "type": "select",
                    "name": "s",
                    "option": ["a", {"type": "option", "name": "b", "value": True}],
                },
            ]
        ).fields
        assert date == F.InputDate(name="day", value="2026-01-31")
        assert select.default == "b"

    def test_all_problems_come_at_once_with_index_and_property(self) -> None:
        """Each fault is told by element and property, near words are named."""
        found = problems(
            [
                {"type": "txt", "name": "a"},
                {"type": "number", "nam": "n", "min_value": "low", "max_value": 3},
                "text",
                {"type": "text", "name": "b", "required": "yes", "pattern": "("},
                {"name": "c"},
                {"type": "text", "name": "b"},
                {"type": "time", "name": "t", "min_time": 630},
            ]
        )
        assert [(each.index, each.property) for each in found] == [
            (0, "type"),
            (1, "nam"),
            (1, "name"),
            (1, "min_value"),
            (2, None),
            (3, "required"),
            (3, "pattern"),
            (4, "type"),
            (5, "name"),
            (6, "min_time"),
        ]
        assert "did you mean 'text'?" in found[0].message
        assert "did you mean 'name'?" in found[1].message
        assert found[3].message == "must be a number, got 'low'"
        assert "'b' is taken by element 4" in found[8].message
        assert "quote it" in found[9].message
        assert str(found[1]).startswith("element 2, nam: ")

    @pytest.mark.parametrize(
        ("data", "prop", "words"),
        [
            ({"type": "number", "min_value": 5, "max_value": 3}, "min_value", "above max_value"),
            ({"type": "number", "step": 0}, "step", "above 0"),
            ({"type": "number", "value": 9, "max_value": 3}, "value", "at most 3, got 9"),
            ({"type": "number", "value": True}, "value", "must be a number, got true"),
            ({"type": "password", "min_length": 5, "max_length": 3}, "min_length", "above"),
            ({"type": "textarea", "max_length": -1}, "max_length", "0 or more"),
            ({"type": "textarea", "rows": 1.5}, "rows", "whole number"),
            ({"type": "text", "value": 7}, "value", "must be text, got a number"),
            ({"type": "text", "value": "A", "pattern": "[a-z]"}, "value", "must match"),
            ({"type": "date", "min_date": "1.1.2026"}, "min_date", "a date like"),
            ({"type": "time", "step": 0}, "step", "above 0"),
            ({"type": "select", "option": []}, "option", "list of options"),
            ({"type": "select", "option": ["a", "a"]}, "option", "two options are named 'a'"),
            ({"type": "select", "option": [{"nme": "a"}]}, "option", "did you mean 'name'?"),
            ({"type": "select", "option": ["a"], "value": "b"}, "value", "must be one of a"),
            ({"type": "select", "option": [3], "value": "b"}, "option", "must be text"),
            ({"type": "boolean", "value": "maybe"}, "value", "true or false"),
        ],
    )
    def test_a_property_that_makes_no_sense_is_a_problem(
        self, data: dict[str, object], prop: str, words: str
    ) -> None:
        """Limits that cross, a step of 0, a default that its own field refuses."""
        (only,) = problems([{"name": "x", **data}])
        assert (only.index, only.property) == (0, prop)
        assert words in only.message

    @pytest.mark.parametrize("name", ["", " a", "_global_"])
    def test_a_name_must_be_one(self, name: str) -> None:
        """Names that are empty, padded, or kept for errors of no field are refused."""
        assert problems([{"type": "text", "name": name}])[0].property == "name"

    def test_python_gets_the_same_checks(self) -> None:
        """An element made in Python raises what its data would."""
        with pytest.raises(F.FormError, match="max_value: must be a number"):
            F.InputNumber(name="n", max_value="x")  # type: ignore[arg-type]
        with pytest.raises(F.FormError, match="taken by element 1"):
            F.Model(F.InputText(name="a"), F.Checkbox(name="a"))
        with pytest.raises(F.FormError, match="no form element"):
            F.Model("text")  # type: ignore[arg-type]

    def test_a_form_is_a_list(self) -> None:
        """Anything else is refused in words."""
        assert problems({"type": "text"})[0].message == (
            "a form must be a list of elements, got an object"
        )


class TestRequired:
    @pytest.mark.parametrize(
        "element",
        [
            F.InputText(name="x", required=True),
            F.InputPassword(name="x", required=True),
            F.InputArea(name="x", required=True),
            F.InputNumber(name="x", required=True),
            F.InputDate(name="x", required=True),
            F.InputTime(name="x", required=True),
            F.InputDateTime(name="x", required=True),
            F.Select(name="x", required=True, option=["a"]),
            F.InputFiles(name="x", required=True),
            F.InputFiles(name="x", required=True, multiple=True),
            F.InputJSON(name="x", required=True),
        ],
        ids=lambda element: element.type,
    )
    def test_it_must_have_a_value(self, element: F.Field) -> None:
        """Absent, null and empty are no values."""
        for raw in ({}, {"x": None}, {"x": ""}):
            assert refused(F.Model(element), raw) == {"x": ["is required"]}
        if isinstance(element, F.InputFiles):
            assert message(element, []) == "is required"
        if isinstance(element, F.InputJSON):
            assert message(element, "null") == "is required"
            assert value(element, []) == []

    def test_a_default_is_a_value(self) -> None:
        """Only an explicit nothing is refused where there is a default."""
        element = F.InputText(name="x", required=True, value="a")
        assert F.Model(element).validate({}) == {"x": "a"}
        assert message(element, "") == "is required"

    def test_an_empty_default_is_none_where_one_is_required(self) -> None:
        """The data and the schema do not offer what the check would refuse."""
        element = F.InputText(name="x", required=True, value="")
        assert "value" not in element.to_dict()
        assert F.Model(element).json_schema()["required"] == ["x"]

    def test_what_is_optional_and_empty_is_none(self) -> None:
        """Every field is in the result; only text keeps its emptiness."""
        names = {each.name for each in EVERY.fields}
        found = EVERY.validate(dict.fromkeys(names, ""))
        assert set(found) == names
        assert {name: each for name, each in found.items() if each is not None} == {
            "text": "",
            "password": "",
            "area": "",
            "check": False,
        }


class TestText:
    def test_the_pattern_must_match_the_whole(self) -> None:
        """A match of a part is none."""
        element = F.InputText(name="x", pattern="[a-z]+")
        assert value(element, "abc") == "abc"
        assert message(element, "abc1") == "must match the pattern [a-z]+"
        assert message(element, "abc\n") == "must match the pattern [a-z]+"

    @pytest.mark.parametrize("cls", [F.InputText, F.InputPassword, F.InputArea])
    def test_lengths_are_enforced(self, cls: type[F.InputText]) -> None:
        """Both ends, with the length that was got."""
        element = cls(name="x", min_length=2, max_length=4)
        assert value(element, "ab") == "ab"
        assert value(element, "abcd") == "abcd"
        assert message(element, "a") == "must have at least 2 characters, got 1"
        assert message(element, "abcde") == "must have at most 4 characters, got 5"

    def test_all_messages_of_a_field_come_at_once(self) -> None:
        """Too short and of the wrong form are two messages."""
        element = F.InputText(name="x", min_length=3, pattern="[a-z]*")
        assert len(refused(F.Model(element), {"x": "1"})["x"]) == 2

    def test_a_secret_is_not_repeated(self) -> None:
        """No message about a password holds it."""
        element = F.InputPassword(name="x", min_length=30, pattern="[a-z]+")
        for each in refused(F.Model(element), {"x": "hunter2"})["x"]:
            assert "hunter2" not in each

    def test_only_text_is_text(self) -> None:
        """A number is none: 007 and 7 would be the same."""
        assert message(F.InputText(name="x"), 7) == "must be text, got a number"
        assert message(F.InputArea(name="x"), ["a"]) == "must be text, got a list"

    def test_size_is_only_how_wide_it_is_drawn(self) -> None:
        """A longer text is fine."""
        assert value(F.InputText(name="x", size=2), "abcdef") == "abcdef"


class TestNumber:
    @pytest.mark.parametrize(
        ("step", "raw", "wanted"),
        [
            (None, "3", 3),
            (None, "3.0", 3.0),
            (None, 2.5, 2.5),
            (None, " -7 ", -7),
            (None, "1e3", 1000.0),
            (1, "3", 3),
            (1, 3.0, 3),
            ("any", "3", 3.0),
            ("any", 0.1, 0.1),
            (0.5, 3, 3.0),
        ],
    )
    def test_numbers_arrive_as_numbers(
        self, step: float | str | None, raw: object, wanted: float
    ) -> None:
        """An int where it is written as one and the step allows, else a float."""
        found = value(F.InputNumber(name="x", step=step), raw)
        assert (found, type(found)) == (wanted, type(wanted))

    @pytest.mark.parametrize("raw", [True, "x", "1_000", "٣", "0x10", [], {}, "1,5", "--1", "1e"])
    def test_what_is_no_number_is_refused(self, raw: object) -> None:
        """A boolean is none, nor is what only Python reads as one."""
        assert message(F.InputNumber(name="x"), raw).startswith("must be a number, got ")

    @pytest.mark.parametrize("typed", ["9" * 4_000_000, "9" * 4_000_000 + "x"])
    def test_a_text_that_is_too_long_for_a_number_is_not_looked_at(self, typed: str) -> None:
        """A regular expression keeps everybody waiting while it goes through it."""
        element, began = F.InputNumber(name="x"), time.thread_time()
        assert message(element, typed).startswith("must be a number, got ")
        assert time.thread_time() - began < 0.2

    @pytest.mark.parametrize("raw", ["1e999", float("nan"), float("inf"), 10**400, "9" * 399])
    def test_numbers_are_finite(self, raw: object) -> None:
        """What JSON or a float cannot hold is refused."""
        assert message(F.InputNumber(name="x"), raw) == "must be a finite number"

    def test_the_range_is_enforced(self) -> None:
        """Its ends belong to it."""
        element = F.InputNumber(name="x", min_value=3, max_value=5.5)
        assert value(element, 3) == 3
        assert value(element, "5.5") == 5.5
        assert message(element, 1) == "must be at least 3, got 1"
        assert message(element, 6) == "must be at most 5.5, got 6"

    @pytest.mark.parametrize(
        ("element", "good", "bad", "words"),
        [
            (F.InputNumber(name="x", step=5), 10, 11, "must be a multiple of 5, got 11"),
            (F.InputNumber(name="x", step=1), 2, 2.5, "must be a whole number, got 2.5"),
            (F.InputNumber(name="x", step=0.1), 0.3, 0.35, "must be a multiple of 0.1, got 0.35"),
            (
                F.InputNumber(name="x", step=2, min_value=1),
                7,
                8,
                "must be 1 plus a multiple of 2, got 8",
            ),
            (
                F.InputNumber(name="x", step=2, value=5),
                9,
                8,
                "must be 5 plus a multiple of 2, got 8",
            ),
        ],
    )
    def test_steps_count_from_minimum_default_or_zero(
        self, element: F.InputNumber, good: float, bad: float, words: str
    ) -> None:
        """As in HTML, and decimal: three tenths are three steps of a tenth."""
        assert value(element, good) == good
        assert message(element, bad) == words

    def test_a_pattern_is_matched_against_the_number(self) -> None:
        """It may ask for a number of digits."""
        element = F.InputNumber(name="x", pattern="[0-9]{4}")
        assert value(element, "1234") == 1234
        assert "must match the pattern" in message(element, 123)


class TestMoments:
    def test_they_arrive_typed(self) -> None:
        """Text becomes date, time and datetime."""
        assert value(F.InputDate(name="x"), "2026-01-31") == dt.date(2026, 1, 31)
        assert value(F.InputTime(name="x"), "09:30") == dt.time(9, 30)
        assert value(F.InputTime(name="x"), "09:30:15.5") == dt.time(9, 30, 15, 500000)
        moment = dt.datetime(2026, 1, 31, 9, 30)
        assert value(F.InputDateTime(name="x"), "2026-01-31T09:30") == moment
        assert value(F.InputDateTime(name="x"), "2026-01-31 09:30:00") == moment

    @pytest.mark.parametrize(
        ("element", "raw"),
        [
            (F.InputDate(name="x"), "2026-02-31"),
            (F.InputDate(name="x"), "20260131"),
            (F.InputDate(name="x"), "2026-W05-6"),
            (F.InputDate(name="x"), dt.datetime(2026, 1, 1)),
            (F.InputDate(name="x"), 20260131),
            (F.InputTime(name="x"), "9:30"),
            (F.InputTime(name="x"), "25:00"),
            (F.InputTime(name="x"), "09:30Z"),
            (F.InputDateTime(name="x"), "2026-01-31"),
            (F.InputDateTime(name="x"), "2026-01-31T09:30Z"),
            (F.InputDateTime(name="x"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        ],
    )
    def test_other_spellings_are_refused_with_an_example(
        self, element: F.Field, raw: object
    ) -> None:
        """The message shows how it is written."""
        assert re.match(r"must be a (date|time|date and time) like [0-9]", message(element, raw))

    @pytest.mark.parametrize(
        ("element", "good", "low", "high"),
        [
            (
                F.InputDate(name="x", min_date="2026-01-01", max_date="2026-01-31"),
                "2026-01-31",
                "2025-12-31",
                "2026-02-01",
            ),
            (
                F.InputTime(name="x", min_time="08:00", max_time="18:00"),
                "18:00",
                "07:59:59",
                "18:00:01",
            ),
            (
                F.InputDateTime(
                    name="x", min_datetime="2026-01-01T08:00", max_datetime="2026-01-01T18:00"
                ),
                "2026-01-01T08:00",
                "2026-01-01T07:59",
                "2026-01-01T18:01",
            ),
        ],
        ids=["date", "time", "datetime"],
    )
    def test_ranges_are_enforced(self, element: F.Field, good: str, low: str, high: str) -> None:
        """Their ends belong to them."""
        assert value(element, good) is not None
        assert re.fullmatch(rf"must be .* or later, got {low}", message(element, low))
        assert re.fullmatch(rf"must be .* or earlier, got {high}", message(element, high))

    def test_a_range_of_times_may_cross_midnight(self) -> None:
        """A minimum after the maximum means a night."""
        element = F.InputTime(name="x", min_time="22:00", max_time="06:00")
        assert value(element, "23:00") == dt.time(23)
        assert value(element, "05:00") == dt.time(5)
        assert message(element, "12:00") == "must be from 22:00 to 06:00, got 12:00"

    def test_steps_are_seconds_from_the_minimum(self) -> None:
        """Or from midnight where there is none."""
        quarter = F.InputTime(name="x", step=900)
        assert value(quarter, "09:15") == dt.time(9, 15)
        assert message(quarter, "09:20") == "must be in steps of 900 seconds, got 09:20"
        hourly = F.InputDateTime(name="x", step=3600, min_datetime="2026-01-01T00:30")
        assert value(hourly, "2026-01-01T05:30") is not None
        assert "from 2026-01-01T00:30" in message(hourly, "2026-01-01T05:00")


class TestChoices:
    @pytest.mark.parametrize("raw", [True, "true", "on", "1", "True", "yes", 1])
    def test_a_checked_box_is_true(self, raw: object) -> None:
        """However browsers, terminals and JSON spell it."""
        assert value(F.Checkbox(name="x"), raw) is True

    @pytest.mark.parametrize("raw", [False, "false", "off", "", "0", "no", None, 0])
    def test_an_unchecked_box_is_false(self, raw: object) -> None:
        """Also where it is checked by default."""
        assert value(F.Checkbox(name="x", value=True), raw) is False

    def test_an_absent_box_has_its_default(self) -> None:
        """Which is false unless the form says otherwise."""
        form = F.Model(F.Checkbox(name="a"), F.Checkbox(name="b", value=True))
        assert form.validate({}) == {"a": False, "b": True}

    @pytest.mark.parametrize("raw", ["maybe", 2, 1.0, [], {}])
    def test_what_is_neither_is_refused(self, raw: object) -> None:
        """Nothing is taken for false."""
        assert message(F.Checkbox(name="x"), raw).startswith("must be true or false, got ")

    def test_an_option_must_be_one_of_the_form(self) -> None:
        """The message lists them and names the nearest."""
        element = F.Select(name="x", option=["small", "large"])
        assert value(element, "large") == "large"
        assert message(element, "smal") == (
            "must be one of small, large, got 'smal'; did you mean 'small'?"
        )

    def test_an_option_may_have_an_empty_name(self) -> None:
        """It is chosen by the empty text, which is otherwise no value."""
        assert value(F.Select(name="x", option=["", "a"]), "") == ""
        assert value(F.Select(name="x", option=["a"]), "") is None

    def test_an_option_may_be_chosen_by_its_json(self) -> None:
        """A number's text is its option's name."""
        element = F.Select(name="x", option=["1", "true"])
        assert value(element, 1) == "1"
        assert value(element, True) == "true"

    def test_only_one_option_can_be_preselected(self) -> None:
        """Two are a problem of the form."""
        both = [F.InputOption("a", value=True), F.InputOption("b", value=True)]
        with pytest.raises(F.FormError, match="only one can be preselected"):
            F.Select(name="x", option=both)

    def test_files_are_paths_one_or_a_list(self) -> None:
        """`multiple` and `directory` make it a list."""
        one, many = F.InputFiles(name="x"), F.InputFiles(name="x", multiple=True)
        assert value(one, "a.txt") == "a.txt"
        assert value(one, ["a.txt"]) == "a.txt"
        assert value(many, "a.txt") == ["a.txt"]
        assert value(F.InputFiles(name="x", directory=True), ["a", "b"]) == ["a", "b"]
        assert message(one, ["a", "b"]) == "must be one file, got 2"
        assert message(many, [1]) == "must be text, got a number"
        assert message(many, 1) == "must be a path, got a number"


class TestJSON:
    @pytest.mark.parametrize(
        ("raw", "wanted"),
        [
            ('["a", 1]', ["a", 1]),
            ('{"a": null}', {"a": None}),
            ("3", 3),
            ("true", True),
            ("hello", "hello"),
            ('"hello"', "hello"),
            (["3"], ["3"]),
            ({"a": [1.5]}, {"a": [1.5]}),
            (0, 0),
            ("null", None),
            ('"3"', 3),
            (json.dumps(json.dumps(json.dumps("3"))), 3),
            ('" "', None),
        ],
    )
    def test_text_that_is_json_is_decoded(self, raw: object, wanted: object) -> None:
        """Other text and values stay as they are."""
        assert value(F.InputJSON(name="x"), raw) == wanted

    @pytest.mark.parametrize("raw", ['["a"', "{a: 1}", "[NaN]", "[1e999]", "[" * 10_000])
    def test_broken_lists_and_objects_are_refused(self, raw: str) -> None:
        """They are never taken for text."""
        assert message(F.InputJSON(name="x"), raw).startswith("must be JSON: ")

    def test_only_json_values_are_taken(self) -> None:
        """What JSON cannot hold is refused, not repr'd."""
        assert message(F.InputJSON(name="x"), {"a": dt.date(2026, 1, 1)}).startswith(
            "must be a JSON"
        )
        assert refused(F.Model(F.InputJSON(name="x")), {"x": [float("nan")]})


class TestValidate:
    def test_unknown_fields_are_refused_by_name(self) -> None:
        """The nearest known one is named, or all of them."""
        form = F.Model(F.InputText(name="topic"), F.Submit("Go"))
        assert refused(form, {"topik": "x", "zzz": 1}) == {
            "topik": ["is no field of this form; did you mean 'topic'?"],
            "zzz": ["is no field of this form; it has: topic"],
        }
        assert refused(F.Model(), {"a": 1}) == {"a": ["is no field of this form; there are none"]}

    def test_all_fields_are_told_in_one_pass(self) -> None:
        """Nobody mends one mistake to meet the next."""
        raw = {"number": "x", "date": "x", "select": "z", "chek": 1, "action": "maybe"}
        assert set(refused(EVERY, raw)) == set(raw)

    def test_the_errors_survive_the_wire(self) -> None:
        """A client gets the same messages by field."""
        with pytest.raises(InputsError) as caught:
            EVERY.validate({"number": 3, "date": 1})
        again = from_wire(json.loads(json.dumps(caught.value.to_wire())))
        assert isinstance(again, InputsError)
        assert again.errors == caught.value.errors

    @pytest.mark.parametrize("raw", [None, [], "x", 3])
    def test_inputs_are_an_object(self, raw: object) -> None:
        """Anything else is refused, as an error of no field."""
        (only,) = refused(EVERY, raw)[GLOBAL_FIELD]
        assert only.startswith("the inputs must be an object, got ")

    def test_a_field_named_self_is_refused_like_any(self) -> None:
        """A name that Python keeps for itself breaks nothing."""
        assert refused(F.Model(), {"self": 1})["self"][0].startswith("is no field")

    def test_a_pressed_button_is_among_the_inputs(self) -> None:
        """Only if it was pressed, and only with a value that a button has."""
        form = F.Model(F.Action(name="do", value="yes"), F.Action(name="do", value="no"))
        assert form.validate({}) == {}
        assert form.validate({"do": "no"}) == {"do": "no"}
        assert refused(form, {"do": "x"}) == {"do": ["must be one of yes, no, got 'x'"]}
        assert form.field_names == ()

    def test_defaults_stand_for_absent_fields(self) -> None:
        """Typed as any value is; an explicit nothing is kept."""
        found = EVERY.validate({"number": None})
        assert found["date"] == dt.date(2026, 5, 5)
        assert (found["text"], found["select"], found["check"]) == ("abc", "b", True)
        assert found["number"] is None

    def test_a_long_value_is_shortened_in_a_message(self) -> None:
        """A message stays a line."""
        assert len(message(F.InputNumber(name="x"), "z" * 10_000)) < 100


def as_json(found: dict[str, object]) -> dict[str, object]:
    """Return inputs as the store and the wire have them."""
    return json.loads(msgspec.json.encode(found))  # type: ignore[no-any-return]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_SPELT = (
    st.sampled_from(["", " ", "on", "3", "3.0", "-0", "1e2", "null", '"3"', '"a"', '" "', '["a"]'])
    | st.dates().map(str)
    | st.times().map(str)
    | st.datetimes().map(str)
    | st.datetimes().map(lambda each: f"{each:%Y-%m-%dT%H:%M}")
    | st.floats(allow_nan=False).map(str)
    | _JSON.map(json.dumps)
)
_LOOSE = F.Model(
    F.InputText(name="text", pattern="(?s).*"),
    F.InputArea(name="area", value="a"),
    F.InputNumber(name="loose"),
    F.InputNumber(name="whole", step=1, value=3),
    F.InputNumber(name="any", step="any", required=True, value=1),
    F.InputNumber(name="half", step=0.5, min_value=-10),
    F.InputDate(name="date", value="2026-01-01"),
    F.InputTime(name="time", min_time="22:00", max_time="06:00"),
    F.InputDateTime(name="moment", step=60),
    F.Checkbox(name="check", value=True),
    F.Select(name="select", option=["", "3", "true", "on"], value="3"),
    F.InputFiles(name="file"),
    F.InputFiles(name="files", multiple=True),
    F.InputJSON(name="json", value=[1]),
    F.Action(name="act", value="on"),
)
_NAMES = [*_LOOSE.field_names, "act"]


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(_NAMES), _JSON | _SPELT))
def test_validating_twice_changes_nothing(raw: dict[str, object]) -> None:
    """What passed passes again and stays what it is, as values and by way of JSON."""
    accepted = {name: each for name, each in raw.items() if _passes(name, each)}
    once = _LOOSE.validate(accepted)
    assert repr(_LOOSE.validate(once)) == repr(once)
    by_json = json.loads(json.dumps(once, default=lambda each: each.isoformat()))
    assert repr(_LOOSE.validate(by_json)) == repr(once)


def _passes(name: str, raw: object) -> bool:
    try:
        _LOOSE.validate({name: raw})
    except InputsError:
        return False
    return True


class TestSchema:
    def test_it_is_a_draft_2020_12_schema_that_good_inputs_meet(self) -> None:
        """What validate returns, as JSON, meets the schema."""
        schema = EVERY.json_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        good = EVERY.validate({"time": "09:30", "moment": "2026-02-02T10:00", "action": "yes"})
        jsonschema.validate(as_json(good), schema, jsonschema.Draft202012Validator)

    @pytest.mark.parametrize(
        "bad",
        [
            {"number": 500},
            {"number": 2.5},
            {"text": "ABC"},
            {"select": "z"},
            {"check": "on"},
            {"password": "ab"},
            {"time": "9"},
            {"action": "maybe"},
            {"unknown": 1},
        ],
        ids=str,
    )
    def test_bad_inputs_do_not_meet_it(self, bad: dict[str, object]) -> None:
        """Ranges, patterns, options, types and names are in it."""
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, EVERY.json_schema(), jsonschema.Draft202012Validator)

    def test_only_what_is_required_and_has_no_default_must_be_there(self) -> None:
        """Optional fields admit null."""
        schema = F.Model(
            F.InputText(name="a", required=True, label="The A"),
            F.InputText(name="b", required=True, value="x"),
            F.InputNumber(name="c"),
        ).json_schema()
        assert schema["required"] == ["a"]
        assert schema["properties"]["a"] == {"title": "The A", "type": "string"}
        assert schema["properties"]["b"]["default"] == "x"
        assert schema["properties"]["c"]["type"] == ["number", "null"]


class TestResponse:
    @pytest.mark.parametrize("name", ["Markdown", "HTML", "Text"])
    def test_a_body_says_how_it_is_shown(self, name: str) -> None:
        """As a payload and inside any other value that becomes JSON."""
        body = getattr(response, name)("a", 1)
        payload = {"type": name.lower(), "body": "a 1"}
        assert body.body == "a 1"
        assert body.to_payload() == payload
        assert json.loads(msgspec.json.encode([body])) == [payload]

    def test_it_cannot_be_changed(self) -> None:
        """A result is what it was when it was sent."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            response.Text("a").body = "b"  # type: ignore[misc]
