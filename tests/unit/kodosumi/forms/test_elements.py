"""Kodosumi's elements: their arguments, their JSON and their HTML."""

import inspect
import json
from html.parser import HTMLParser

import pytest

from koco.kodosumi import forms as F  # noqa: N812

_LIMITED = "name label value required placeholder size pattern {} error"

#: The arguments of each element in Kodosumi's order.
ARGUMENTS = {
    "InputText": "name label value required placeholder size pattern error",
    "InputNumber": _LIMITED.format("min_value max_value step"),
    "InputPassword": _LIMITED.format("min_length max_length"),
    "InputEmail": _LIMITED.format("min_length max_length"),
    "InputUrl": _LIMITED.format("min_length max_length"),
    "InputTel": _LIMITED.format("min_length max_length"),
    "InputSearch": _LIMITED.format("min_length max_length"),
    "InputArea": "name label value required placeholder rows cols max_length error",
    "InputDate": "name label value required placeholder min_date max_date error",
    "InputTime": "name label value required placeholder min_time max_time step error",
    "InputDateTime": "name label value required placeholder min_datetime max_datetime step error",
    "InputMonth": "name label value required min_month max_month error",
    "InputWeek": "name label value required min_week max_week error",
    "InputColor": "name label value required error",
    "InputRange": "name label value required min_value max_value step error",
    "InputHidden": "name value error",
    "InputRadio": "name option label value required error",
    "InputFiles": "name label value required multiple directory error",
    "InputOption": "name label value error",
    "Checkbox": "name option label value error",
    "Select": "name option label value error",
    "Action": "name value required text error",
    "Submit": "text error",
    "Cancel": "text error",
    "Errors": "error",
    "DisplayInfo": "text label",
    "Markdown": "text",
    "HTML": "text",
}


class Tags(HTMLParser):
    """Collects the tags of a piece of HTML, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def tags(element: F.Element, tag: str) -> list[dict[str, str | None]]:
    return Tags(element.render()).of(tag)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_have_kodosumis_names_and_order(name: str) -> None:
    """A service that gives its arguments by position gets the same form as in Kodosumi."""
    given = list(inspect.signature(getattr(F, name)).parameters)
    assert given == ARGUMENTS[name].split()


class TestJSON:
    def test_properties_without_a_value_are_null(self) -> None:
        """Every property of a type is in its JSON, because Kodosumi's clients read them all."""
        assert F.InputText("topic").to_dict() == {
            "type": "text",
            "name": "topic",
            "label": None,
            "value": None,
            "required": False,
            "placeholder": None,
            "size": None,
            "pattern": None,
        }

    def test_any_value_is_kept_as_it_is(self) -> None:
        """A default may have any type: Kodosumi checks none."""
        assert F.InputText(name="n", value=5).to_dict()["value"] == 5
        assert F.InputDate(name="d", value="soon").to_dict()["value"] == "soon"

    def test_spaces_accept_any_arguments(self) -> None:
        """`Break("x")` is a break."""
        assert F.Break("x", y=1).to_dict() == {"type": "break", "text": '<div class="space"></div>'}
        assert F.HR("x").to_dict() == {"type": "hr", "text": '<hr class="medium"/>'}

    def test_a_checkbox_has_the_text_beside_it(self) -> None:
        """Without one, the text is `on`."""
        assert F.Checkbox("c").to_dict()["option"] == "on"
        assert F.Checkbox("c", "I agree").to_dict()["option"] == "I agree"

    def test_the_chosen_option_is_selected(self) -> None:
        """`value` selects an option, and the options' own `value` is overwritten."""
        for cls in (F.Select, F.InputRadio):
            options = [F.InputOption("a", "A", value=True), {"type": "option", "name": "b"}]
            shown = cls("s", options, value="b").to_dict()["option"]
            assert [(each["name"], each["value"]) for each in shown] == [("a", False), ("b", True)]

    def test_a_choice_may_have_no_options(self) -> None:
        """`Select(option=[])` is accepted, for options that come later."""
        assert F.Select("s", option=[]).to_dict()["option"] == []

    def test_a_range_has_limits(self) -> None:
        """They are 0 and 100 if none are given."""
        shown = F.InputRange("r", min_value=5).to_dict()
        assert (shown["min_value"], shown["max_value"]) == (5, 100)

    def test_an_element_without_a_type_has_no_json(self) -> None:
        """As in Kodosumi, `Element` itself is abstract."""
        with pytest.raises(NotImplementedError):
            F.Element("x").to_dict()
        with pytest.raises(NotImplementedError):
            F.Element("x").render()
        with pytest.raises(NotImplementedError):
            F.HTML("x").parse_value("y")


class TestHTML:
    def test_fields_have_the_attributes_of_their_properties(self) -> None:
        """The names are HTML's: minlength for min_length."""
        field = F.InputEmail("e", value="a@b.c", required=True, placeholder="…", min_length=3)
        assert tags(field, "input") == [
            {"type": "email", "name": "e", "required": None, "value": "a@b.c"}
            | {"placeholder": "…", "minlength": "3"}
        ]
        assert tags(F.InputTime("t", min_time="08:00", step=60), "input") == [
            {"type": "time", "name": "t", "min": "08:00", "step": "60"}
        ]
        assert tags(F.InputArea("a", rows=3, max_length=9), "textarea") == [
            {"name": "a", "rows": "3", "maxlength": "9"}
        ]

    def test_values_cannot_leave_their_attribute(self) -> None:
        """A value comes from whoever sent the form, so its HTML is shown as text."""
        evil = '"><script>alert(1)</script>'
        for element in (
            F.InputText("n", value=evil),
            F.InputArea("n", value="</textarea><script>"),
            F.InputHidden("n", evil),
            F.Select("n", [F.InputOption(evil, evil)]),
            F.InputRadio("n", [F.InputOption(evil)]),
            F.InputFiles("n", value=evil),
            F.InputText("n", error=[evil]),
            F.Errors(error=[evil]),
            F.Markdown("<script>alert(1)</script>"),
        ):
            allowed = isinstance(element, F.Markdown)
            assert bool(tags(element, "script")) is allowed, element.render()

    def test_messages_keep_their_line_breaks(self) -> None:
        """And nothing else of their HTML."""
        message = "Wrong:<br/><b>x</b><br>"
        for element in (F.Errors(error=[message]), F.InputText("n", error=[message])):
            assert "Wrong:<br/>&lt;b&gt;x&lt;/b&gt;<br/>" in element.render()

    def test_checked_boxes_and_chosen_options_are_marked(self) -> None:
        """`checked` and `selected`, as HTML has it."""
        assert tags(F.Checkbox("c", value=True), "input")[0]["checked"] is None
        assert "checked" not in tags(F.Checkbox("c"), "input")[0]
        options = [F.InputOption("a"), F.InputOption("b")]
        chosen = tags(F.Select("s", options, value="b"), "option")
        assert ["selected" in each for each in chosen] == [False, True]
        pressed = tags(F.InputRadio("s", options, value="a", required=True), "input")
        assert ["checked" in each for each in pressed] == [True, False]

    def test_files_have_the_parts_that_kodosumis_scripts_need(self) -> None:
        """A dialog to choose files, and a hidden field for the list of uploads."""
        upload = '{"items": {"1": {"filename": "a.txt"}}, "batchId": "b"}'
        field = F.InputFiles("f", value=upload, multiple=True, directory=True)
        dialog, hidden = tags(field, "input")
        assert dialog["name"] == "_dialog-f" and {"multiple", "webkitdirectory"} <= dialog.keys()
        assert (hidden["name"], hidden["value"]) == ("f", upload)
        assert "1 files" in field.render()
        assert "files have" not in F.InputFiles("f", value='{"items": 3}').render()

    def test_markdown_becomes_html(self) -> None:
        """Its common indentation is removed first."""
        shown = F.Markdown("\n    # Title\n\n    | a |\n    | - |\n    | 1 |\n").render()
        assert "<h1>Title</h1>" in shown and "<table>" in shown

    def test_information_is_a_paragraph(self) -> None:
        """With a legend if it has a label."""
        assert "<p>Hello</p>" in F.DisplayInfo("Hello").render()
        assert "legend" not in F.DisplayInfo("Hello").render()
        assert "Note" in F.DisplayInfo("Hello", "Note").render()

    def test_buttons(self) -> None:
        """Submit, cancel and action."""
        assert tags(F.Submit("Go"), "button") == [{"type": "submit"}]
        assert tags(F.Cancel("No"), "a")[0]["class"] == "button"
        assert tags(F.Action("a", "x", text="X"), "button") == [{"name": "a", "value": "x"}]

    def test_a_colour_is_black_without_a_value(self) -> None:
        """As browsers show it."""
        assert tags(F.InputColor("c"), "input")[0]["value"] == "#000000"


@pytest.mark.parametrize(("count", "is_shown"), [(2, True), (20_000, False)])
def test_a_file_field_reads_only_so_many_names(count: int, is_shown: bool) -> None:
    """The control plane shows refused forms, and would stop for seconds while it decodes more."""
    items = {str(number): {"filename": f"f{number}"} for number in range(count)}
    value = json.dumps({"items": items, "pad": [0] * count})
    shown = F.InputFiles("f", value=value).render()
    assert (f"{count} files have been uploaded" in shown) is is_shown
