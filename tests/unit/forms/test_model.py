"""Forms: conversion to data and back, validation, typed values, and messages."""

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
from tests.unit.conftest import examples

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
    F.InputEmail(name="email", placeholder="ada@example.org", max_length=80),
    F.InputUrl(name="url", pattern="https://.*"),
    F.InputTel(name="tel", min_length=5),
    F.InputSearch(name="search", size=9),
    F.InputMonth(name="month", min_month="2026-01", max_month="2026-12", value="2026-05"),
    F.InputWeek(name="week", min_week="2026-W01", max_week="2026-W53"),
    F.InputColor(name="color", value="#ff8800"),
    F.InputRange(name="range", min_value=0, max_value=10, step=2),
    F.InputRadio(name="radio", option=["a", F.InputOption("b", "B")], value="b"),
    F.InputHidden("hidden", "h"),
    F.DisplayInfo("Hello", "Note"),
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
    """Return the only message about one field's read."""
    (only,) = refused(F.Model(element), {element.name: raw})[element.name]
    return only


def read(element: F.Field, raw: object) -> object:
    """Return one field's typed read."""
    return F.Model(element).validate({element.name: raw})[element.name]


def find_problems(data: object) -> list[F.Problem]:
    """Return the find_problems of a form's data."""
    with pytest.raises(ValueError) as caught:
        F.Model.from_list(data)
    assert isinstance(caught.value, F.FormError)
    return list(caught.value.problems)


class TestAsData:
    def test_json_round_trip_keeps_every_element(self) -> None:
        """A form is the same after `to_list`, JSON and `from_list`."""
        data = json.loads(json.dumps(EVERY.to_list()))
        assert F.Model.from_list(data) == EVERY
        assert {each["type"] for each in data} == set(F.TYPES)

    def test_data_omits_defaults(self) -> None:
        """Properties with their default value are left out."""
        form = F.Model(F.InputText(name="topic"), F.Submit("Go"), F.Break())
        assert form.to_list() == [
            {"type": "text", "name": "topic"},
            {"type": "submit", "text": "Go"},
            {"type": "break"},
        ]

    def test_types_match_the_programming_model(self) -> None:
        """Clients know the elements by these names."""
        words = (
            "text password number textarea date time datetime-local "
            "email url tel search month week color range "
            "boolean select radio file json hidden "
            "submit cancel action markdown html none break hr errors"
        )
        assert " ".join(F.TYPES) == words

    def test_elements_cannot_be_changed(self) -> None:
        """An element is frozen, and returns only copies of its values."""
        element = F.InputJSON(name="x", value=["a"])
        with pytest.raises(dataclasses.FrozenInstanceError):
            element.name = "y"  # type: ignore[misc]
        element.to_dict()["value"].append("b")
        F.Model(element).validate({})["x"].append("c")
        assert element.value == ["a"]

    def test_yaml_dates_and_preselected_options_become_typed_defaults(self) -> None:
        """A date of YAML is the same default as its text."""
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

    def test_reports_all_problems_with_index_and_property(self) -> None:
        """Each problem names element and property, and suggests similar names."""
        found = find_problems(
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
    def test_refuses_invalid_properties(
        self, data: dict[str, object], prop: str, words: str
    ) -> None:
        """For example crossed limits, a step of 0, or a default that its own field refuses."""
        (only,) = find_problems([{"name": "x", **data}])
        assert (only.index, only.property) == (0, prop)
        assert words in only.message

    @pytest.mark.parametrize("name", ["", " a", "_global_"])
    def test_refuses_invalid_names(self, name: str) -> None:
        """Empty names, names with blanks around them, and `_global_`."""
        assert find_problems([{"type": "text", "name": name}])[0].property == "name"

    def test_elements_made_in_python_are_checked(self) -> None:
        """They raise the same errors as elements read from data."""
        with pytest.raises(F.FormError, match="max_value: must be a number"):
            F.InputNumber(name="n", max_value="x")  # type: ignore[arg-type]
        with pytest.raises(F.FormError, match="taken by element 1"):
            F.Model(F.InputText(name="a"), F.Checkbox(name="a"))
        with pytest.raises(F.FormError, match="must be a form element, got text"):
            F.Model("text")  # type: ignore[arg-type]

    def test_refuses_data_that_is_not_a_list(self) -> None:
        """The message names the type."""
        assert find_problems({"type": "text"})[0].message == (
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
            F.InputEmail(name="x", required=True),
            F.InputUrl(name="x", required=True),
            F.InputTel(name="x", required=True),
            F.InputSearch(name="x", required=True),
            F.InputMonth(name="x", required=True),
            F.InputWeek(name="x", required=True),
            F.InputColor(name="x", required=True),
            F.InputRange(name="x", required=True),
            F.InputRadio(name="x", required=True, option=["a"]),
        ],
        ids=lambda element: element.type,
    )
    def test_refuses_missing_values(self, element: F.Field) -> None:
        """Absent, null and empty values do not count."""
        for raw in ({}, {"x": None}, {"x": ""}):
            assert refused(F.Model(element), raw) == {"x": ["is required"]}
        if isinstance(element, F.InputFiles):
            assert message(element, []) == "is required"
        if isinstance(element, F.InputJSON):
            assert message(element, "null") == "is required"
            assert read(element, []) == []

    def test_a_default_counts_as_a_value(self) -> None:
        """If there is a default, only an explicit null is refused."""
        element = F.InputText(name="x", required=True, value="a")
        assert F.Model(element).validate({}) == {"x": "a"}
        assert message(element, "") == "is required"

    def test_an_empty_default_of_a_required_field_is_dropped(self) -> None:
        """Data and schema must not offer a value that the check refuses."""
        element = F.InputText(name="x", required=True, value="")
        assert "value" not in element.to_dict()
        assert F.Model(element).json_schema()["required"] == ["x"]

    def test_empty_optional_fields_are_none(self) -> None:
        """Every field is in the result. Only text stays empty text."""
        names = {each.name for each in EVERY.fields}
        found = EVERY.validate(dict.fromkeys(names, ""))
        assert set(found) == names
        assert {name: each for name, each in found.items() if each is not None} == {
            "text": "",
            "password": "",
            "area": "",
            "check": False,
            "search": "",
            "hidden": "",
        }


class TestText:
    def test_the_pattern_must_match_the_whole_text(self) -> None:
        """A partial match is not enough."""
        element = F.InputText(name="x", pattern="[a-z]+")
        assert read(element, "abc") == "abc"
        assert message(element, "abc1") == "must match the pattern [a-z]+"
        assert message(element, "abc\n") == "must match the pattern [a-z]+"

    @pytest.mark.parametrize("cls", [F.InputText, F.InputPassword, F.InputArea])
    def test_enforces_lengths(self, cls: type[F.InputText]) -> None:
        """Minimum and maximum; the message has the given length."""
        element = cls(name="x", min_length=2, max_length=4)
        assert read(element, "ab") == "ab"
        assert read(element, "abcd") == "abcd"
        assert message(element, "a") == "must have at least 2 characters, got 1"
        assert message(element, "abcde") == "must have at most 4 characters, got 5"

    def test_reports_all_messages_of_a_field(self) -> None:
        """A text that is too short and does not match gives two messages."""
        element = F.InputText(name="x", min_length=3, pattern="[a-z]*")
        assert len(refused(F.Model(element), {"x": "1"})["x"]) == 2

    def test_messages_omit_passwords(self) -> None:
        """No message about a password contains it."""
        element = F.InputPassword(name="x", min_length=30, pattern="[a-z]+")
        for each in refused(F.Model(element), {"x": "hunter2"})["x"]:
            assert "hunter2" not in each

    def test_refuses_numbers_as_text(self) -> None:
        """Because 007 and 7 would be the same."""
        assert message(F.InputText(name="x"), 7) == "must be text, got a number"
        assert message(F.InputArea(name="x"), ["a"]) == "must be text, got a list"

    def test_size_does_not_limit_the_text(self) -> None:
        """It is only the width of the input."""
        assert read(F.InputText(name="x", size=2), "abcdef") == "abcdef"


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
        """As an int if it is written as one and the step allows it, else as a float."""
        found = read(F.InputNumber(name="x", step=step), raw)
        assert (found, type(found)) == (wanted, type(wanted))

    @pytest.mark.parametrize("raw", [True, "x", "1_000", "٣", "0x10", [], {}, "1,5", "--1", "1e"])
    def test_refuses_other_types_as_numbers(self, raw: object) -> None:
        """Booleans, and spellings that only Python reads as numbers."""
        assert message(F.InputNumber(name="x"), raw).startswith("must be a number, got ")

    @pytest.mark.parametrize("typed", ["9" * 4_000_000, "9" * 4_000_000 + "x"])
    def test_refuses_long_text_as_a_number_quickly(self, typed: str) -> None:
        """Without a regular expression, because that would block other requests."""
        element, began = F.InputNumber(name="x"), time.thread_time()
        assert message(element, typed).startswith("must be a number, got ")
        assert time.thread_time() - began < 0.2

    @pytest.mark.parametrize("raw", ["1e999", float("nan"), float("inf"), 10**400, "9" * 399])
    def test_refuses_infinite_numbers(self, raw: object) -> None:
        """And numbers that a float cannot hold."""
        assert message(F.InputNumber(name="x"), raw) == "must be a finite number"

    def test_enforces_the_range(self) -> None:
        """Both limits are inclusive."""
        element = F.InputNumber(name="x", min_value=3, max_value=5.5)
        assert read(element, 3) == 3
        assert read(element, "5.5") == 5.5
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
        """As in HTML, and decimal: 0.3 is three steps of 0.1."""
        assert read(element, good) == good
        assert message(element, bad) == words

    def test_a_pattern_is_matched_against_the_number(self) -> None:
        """So a form can ask for a certain number of digits."""
        element = F.InputNumber(name="x", pattern="[0-9]{4}")
        assert read(element, "1234") == 1234
        assert "must match the pattern" in message(element, 123)


class TestMoments:
    def test_returns_typed_dates_and_times(self) -> None:
        """Text becomes a date, time or datetime."""
        assert read(F.InputDate(name="x"), "2026-01-31") == dt.date(2026, 1, 31)
        assert read(F.InputTime(name="x"), "09:30") == dt.time(9, 30)
        assert read(F.InputTime(name="x"), "09:30:15.5") == dt.time(9, 30, 15, 500000)
        moment = dt.datetime(2026, 1, 31, 9, 30)
        assert read(F.InputDateTime(name="x"), "2026-01-31T09:30") == moment
        assert read(F.InputDateTime(name="x"), "2026-01-31 09:30:00") == moment

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
        """The message shows the right spelling."""
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
    def test_enforces_ranges(self, element: F.Field, good: str, low: str, high: str) -> None:
        """Both limits are inclusive."""
        assert read(element, good) is not None
        assert re.fullmatch(rf"must be .* or later, got {low}", message(element, low))
        assert re.fullmatch(rf"must be .* or earlier, got {high}", message(element, high))

    def test_a_range_of_times_can_cross_midnight(self) -> None:
        """If the minimum is after the maximum."""
        element = F.InputTime(name="x", min_time="22:00", max_time="06:00")
        assert read(element, "23:00") == dt.time(23)
        assert read(element, "05:00") == dt.time(5)
        assert message(element, "12:00") == "must be from 22:00 to 06:00, got 12:00"

    def test_steps_are_seconds_from_the_minimum(self) -> None:
        """Or from midnight if there is no minimum."""
        quarter = F.InputTime(name="x", step=900)
        assert read(quarter, "09:15") == dt.time(9, 15)
        assert message(quarter, "09:20") == "must be in steps of 900 seconds, got 09:20"
        hourly = F.InputDateTime(name="x", step=3600, min_datetime="2026-01-01T00:30")
        assert read(hourly, "2026-01-01T05:30") is not None
        assert "from 2026-01-01T00:30" in message(hourly, "2026-01-01T05:00")


class TestChoices:
    @pytest.mark.parametrize("raw", [True, "true", "on", "1", "True", "yes", 1])
    def test_a_checked_box_is_true(self, raw: object) -> None:
        """In the spellings of browsers, terminals and JSON."""
        assert read(F.Checkbox(name="x"), raw) is True

    @pytest.mark.parametrize("raw", [False, "false", "off", "", "0", "no", None, 0])
    def test_an_unchecked_box_is_false(self, raw: object) -> None:
        """Also if it is checked by default."""
        assert read(F.Checkbox(name="x", value=True), raw) is False

    def test_an_absent_box_has_its_default(self) -> None:
        """The default is false unless the form sets it."""
        form = F.Model(F.Checkbox(name="a"), F.Checkbox(name="b", value=True))
        assert form.validate({}) == {"a": False, "b": True}

    @pytest.mark.parametrize("raw", ["maybe", 2, 1.0, [], {}])
    def test_refuses_other_values_of_a_checkbox(self, raw: object) -> None:
        """They do not count as false."""
        assert message(F.Checkbox(name="x"), raw).startswith("must be true or false, got ")

    def test_refuses_unknown_options(self) -> None:
        """The message lists the options and suggests the nearest."""
        element = F.Select(name="x", option=["small", "large"])
        assert read(element, "large") == "large"
        assert message(element, "smal") == (
            "must be one of small, large, got 'smal'; did you mean 'small'?"
        )

    def test_an_option_can_have_an_empty_name(self) -> None:
        """Empty text then chooses it."""
        assert read(F.Select(name="x", option=["", "a"]), "") == ""
        assert read(F.Select(name="x", option=["a"]), "") is None

    def test_a_number_can_choose_an_option(self) -> None:
        """By its JSON text."""
        element = F.Select(name="x", option=["1", "true"])
        assert read(element, 1) == "1"
        assert read(element, True) == "true"

    def test_only_one_option_can_be_preselected(self) -> None:
        """Two preselected options are a problem of the form."""
        both = [F.InputOption("a", value=True), F.InputOption("b", value=True)]
        with pytest.raises(F.FormError, match="only one can be preselected"):
            F.Select(name="x", option=both)

    def test_files_are_one_path_or_a_list(self) -> None:
        """`multiple` and `directory` make it a list."""
        one, many = F.InputFiles(name="x"), F.InputFiles(name="x", multiple=True)
        assert read(one, "a.txt") == "a.txt"
        assert read(one, ["a.txt"]) == "a.txt"
        assert read(many, "a.txt") == ["a.txt"]
        assert read(F.InputFiles(name="x", directory=True), ["a", "b"]) == ["a", "b"]
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
        assert read(F.InputJSON(name="x"), raw) == wanted

    @pytest.mark.parametrize("raw", ['["a"', "{a: 1}", "[NaN]", "[1e999]", "[" * 10_000])
    def test_refuses_broken_lists_and_objects(self, raw: str) -> None:
        """They do not count as text."""
        assert message(F.InputJSON(name="x"), raw).startswith("must be JSON: ")

    def test_refuses_values_that_json_cannot_hold(self) -> None:
        """They do not become their repr."""
        assert message(F.InputJSON(name="x"), {"a": dt.date(2026, 1, 1)}).startswith(
            "must be a JSON"
        )
        assert refused(F.Model(F.InputJSON(name="x")), {"x": [float("nan")]})


class TestValidate:
    def test_refuses_unknown_fields_by_name(self) -> None:
        """The message suggests the nearest field, or lists all."""
        form = F.Model(F.InputText(name="topic"), F.Submit("Go"))
        assert refused(form, {"topik": "x", "zzz": 1}) == {
            "topik": ["is not a field of this form; did you mean 'topic'?"],
            "zzz": ["is not a field of this form; the fields are: topic"],
        }
        assert refused(F.Model(), {"a": 1}) == {
            "a": ["is not a field of this form; there are none"]
        }

    def test_reports_all_fields_at_once(self) -> None:
        """So users can fix all mistakes in one go."""
        raw = {"number": "x", "date": "x", "select": "z", "chek": 1, "action": "maybe"}
        assert set(refused(EVERY, raw)) == set(raw)

    def test_errors_reach_a_client(self) -> None:
        """With the same messages by field."""
        with pytest.raises(InputsError) as caught:
            EVERY.validate({"number": 3, "date": 1})
        again = from_wire(json.loads(json.dumps(caught.value.to_wire())))
        assert isinstance(again, InputsError)
        assert again.errors == caught.value.errors

    @pytest.mark.parametrize("raw", [None, [], "x", 3])
    def test_refuses_inputs_that_are_not_an_object(self, raw: object) -> None:
        """The error is not about one field."""
        (only,) = refused(EVERY, raw)[GLOBAL_FIELD]
        assert only.startswith("the inputs must be an object, got ")

    def test_refuses_an_unknown_field_named_self(self) -> None:
        """The name does not collide with Python's `self`."""
        assert refused(F.Model(), {"self": 1})["self"][0].startswith("is not a field")

    def test_inputs_have_the_pressed_button(self) -> None:
        """Only if it was pressed, and only with a value of one of the buttons."""
        form = F.Model(F.Action(name="do", value="yes"), F.Action(name="do", value="no"))
        assert form.validate({}) == {}
        assert form.validate({"do": "no"}) == {"do": "no"}
        assert refused(form, {"do": "x"}) == {"do": ["must be one of yes, no, got 'x'"]}
        assert form.field_names == ()

    def test_defaults_fill_in_absent_fields(self) -> None:
        """They are typed. An explicit null stays null."""
        found = EVERY.validate({"number": None})
        assert found["date"] == dt.date(2026, 5, 5)
        assert (found["text"], found["select"], found["check"]) == ("abc", "b", True)
        assert found["number"] is None

    def test_messages_shorten_long_values(self) -> None:
        """A message stays one line."""
        assert len(message(F.InputNumber(name="x"), "z" * 10_000)) < 100


def as_json(found: dict[str, object]) -> dict[str, object]:
    """Return inputs after a round trip through JSON, as in the store and on the wire."""
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


@settings(max_examples=examples(400))
@given(st.dictionaries(st.sampled_from(_NAMES), _JSON | _SPELT))
def test_validating_twice_changes_nothing(raw: dict[str, object]) -> None:
    """Valid inputs stay valid and unchanged, directly and through JSON."""
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
    def test_valid_inputs_match_the_schema(self) -> None:
        """The JSON of validated inputs matches a schema of draft 2020-12."""
        schema = EVERY.json_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        good = EVERY.validate({"time": "09:30", "moment": "2026-02-02T10:00", "action": "yes"})
        jsonschema.Draft202012Validator(schema).validate(as_json(good))

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
    def test_invalid_inputs_do_not_match_the_schema(self, bad: dict[str, object]) -> None:
        """It has ranges, patterns, options, types and names."""
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(EVERY.json_schema()).validate(bad)

    def test_the_schema_requires_fields_without_a_default(self) -> None:
        """Optional fields allow null."""
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
    def test_a_body_has_its_type(self, name: str) -> None:
        """As a payload, and within any other value that becomes JSON."""
        body = getattr(response, name)("a", 1)
        payload = {"type": name.lower(), "body": "a 1"}
        assert body.body == "a 1"
        assert body.to_payload() == payload
        assert json.loads(msgspec.json.encode([body])) == [payload]

    def test_a_body_cannot_be_changed(self) -> None:
        """A result stays the same after it was sent."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            response.Text("a").body = "b"  # type: ignore[misc]
