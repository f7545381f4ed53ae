"""Forms at a terminal: questions, answers, and leaving."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.typist import Typist

#: Asks for a form's values and prints the answers; stdout is no terminal.
PROGRAM = """
import json, sys
from koco.cli.inputs import prompt
from koco.errors import Interrupted
form, given = map(json.loads, sys.argv[1:3])
try:
    answers = prompt.ask(form, given)
except (Interrupted, KeyboardInterrupt) as exc:
    sys.exit(f"left by {type(exc).__name__}")
print(json.dumps(answers))
"""

Form = list[dict[str, Any]]
At = Callable[..., Typist]


@pytest.fixture
def at(tmp_path: Path) -> Iterator[At]:
    """Return a function that shows a form to a typist; the answers go to the file `out`."""
    with ExitStack() as stack:

        def sit(form: Form, given: dict[str, Any] | None = None, **more: Any) -> Typist:
            args = ["-c", PROGRAM, json.dumps(form), json.dumps(given or {})]
            return stack.enter_context(Typist(args, stdout=tmp_path / "out", **more))

        yield sit


@pytest.fixture
def answers(tmp_path: Path) -> Callable[[Typist], Any]:
    """Return a function that waits for the end and returns what was answered."""

    def read(typist: Typist) -> Any:
        assert typist.leaves() == 0, typist.seen
        return json.loads((tmp_path / "out").read_text())

    return read


Answers = Callable[[Typist], Any]


@pytest.mark.parametrize(
    ("element", "typed", "answer"),
    [
        ({"type": "text"}, "a b\n", "a b"),
        ({"type": "text", "value": "abc"}, "\n", "abc"),
        ({"type": "number"}, "2.5\n", 2.5),
        ({"type": "number", "step": 1, "value": 3}, "\n", 3),
        ({"type": "date"}, "2026-01-31\n", "2026-01-31"),
        ({"type": "time"}, " 09:30 \n", "09:30"),
        ({"type": "datetime-local"}, "2026-01-31 09:30\n", "2026-01-31T09:30"),
        ({"type": "boolean"}, "y\n", True),
        ({"type": "boolean", "value": True}, "No\n", False),
        ({"type": "boolean", "value": True}, "\n", True),
        ({"type": "select", "option": ["red", "blue"]}, "2\n", "blue"),
        ({"type": "select", "option": ["red", "blue"]}, "red\n", "red"),
        ({"type": "select", "option": [{"name": "r", "label": "Deep Red"}]}, "deep red\n", "r"),
        ({"type": "select", "option": ["red", "blue"], "value": "blue"}, "\n", "blue"),
        ({"type": "select", "option": ["2", "1"]}, "1\n", "1"),
        ({"type": "json"}, '{"a": [1]}\n', {"a": [1]}),
        ({"type": "email"}, " ada@example.org \n", "ada@example.org"),
        ({"type": "url", "value": "https://example.org"}, "\n", "https://example.org"),
        ({"type": "tel"}, "+49 30 123\n", "+49 30 123"),
        ({"type": "search"}, " night\n", " night"),
        ({"type": "month"}, "2026-01\n", "2026-01"),
        ({"type": "week"}, "2026-W05\n", "2026-W05"),
        ({"type": "color"}, "#FF8800\n", "#ff8800"),
        ({"type": "range", "step": 1}, "50\n", 50),
        ({"type": "radio", "option": ["red", "blue"]}, "2\n", "blue"),
        ({"type": "json", "value": ["x"]}, "\n", ["x"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_asks_for_each_field_and_converts_it(
    at: At, answers: Answers, element: dict[str, Any], typed: str, answer: Any
) -> None:
    """Enter takes the default; answers are JSON of the field's type."""
    typist = at([{"name": "x", **element}])
    typist.types(typed)
    assert answers(typist) == {"x": answer}


def test_a_hidden_field_is_answered_without_a_question(at: At, answers: Answers) -> None:
    """Its value is sent as it is."""
    assert answers(at([{"type": "hidden", "name": "x", "value": "v"}])) == {"x": "v"}
    assert answers(at([{"type": "hidden", "name": "x", "value": "v"}], {"x": "w"})) == {"x": "w"}


def test_a_question_shows_the_limits(at: At) -> None:
    """Label, whether it is required, type, range, default, choices."""
    form = [
        {"type": "number", "name": "n", "label": "Count", "required": True, "step": 1}
        | {"min_value": 1, "max_value": 9, "value": 3},
        {"type": "date", "name": "day", "min_date": "2026-01-01", "placeholder": "your birthday"},
        {"type": "month", "name": "m", "min_month": "2026-01", "max_month": "2026-06"},
        {"type": "range", "name": "r", "step": 1},
        {"type": "select", "name": "s", "option": [{"name": "a", "label": "The A"}, "b"]},
    ]
    typist = at(form)
    for _ in range(4):
        typist.types("\n")
    typist.sees("> ")
    assert typist.seen.splitlines() == [
        "Count (required, whole number, 1 to 9) [3]",
        "> ",
        "day (YYYY-MM-DD, from 2026-01-01) e.g. your birthday",
        "> ",
        "m (YYYY-MM, 2026-01 to 2026-06)",
        "> ",
        "r (whole number, 0 to 100)",
        "> ",
        "s",
        "   1  a  The A",
        "   2  b",
        "> ",
    ]


def test_a_long_question_is_cut_between_words(at: At) -> None:
    """At the width of the terminal, dates and patterns kept whole."""
    label = "On which day of the conference will you arrive at the station"
    form = [{"type": "date", "name": "day", "label": label, "min_date": "2026-01-01"}]
    typist = at(form, columns=60)
    typist.sees("> ")
    assert typist.seen.splitlines() == [
        "On which day of the conference will you arrive at the",
        "station (YYYY-MM-DD, from 2026-01-01)",
        "> ",
    ]


def test_reports_a_refused_value_and_asks_again(at: At, answers: Answers) -> None:
    """Every message of the field's own check, until the answer will do."""
    typist = at([{"type": "text", "name": "x", "required": True, "pattern": "[a-z]+"}])
    typist.types("\n")
    typist.sees("is required")
    typist.types("A1\n")
    typist.sees("must match the pattern [a-z]+")
    typist.types("abc\n")
    assert answers(typist) == {"x": "abc"}


def test_reports_an_unknown_option(at: At, answers: Answers) -> None:
    """Neither a number beyond the list nor an unknown name is taken."""
    typist = at([{"type": "select", "name": "x", "option": ["red", "blue"]}])
    typist.types("3\n")
    typist.sees("must be one of red, blue, got '3'")
    typist.types("rd\n")
    typist.sees("did you mean 'red'?")
    typist.types("1\n")
    assert answers(typist) == {"x": "red"}


def test_blank_and_optional_is_left_out(at: At, answers: Answers) -> None:
    """The form decides the meaning of an absent input."""
    kinds = ("text", "number", "date", "textarea", "password", "json", "file")
    typist = at([{"type": kind, "name": kind} for kind in kinds])
    for _ in kinds:
        typist.types("\n")
    assert answers(typist) == {}


def test_does_not_ask_for_given_fields(at: At, answers: Answers) -> None:
    """It is returned as it was given, the server's to check."""
    form = [{"type": "number", "name": "n"}, {"type": "text", "name": "x"}]
    typist = at(form, {"n": "many"})
    typist.types("a\n")
    assert "n (" not in typist.seen
    assert answers(typist) == {"n": "many", "x": "a"}


def test_a_password_is_not_shown(at: At, answers: Answers) -> None:
    """Not as it is typed, not as a default, not when it is refused."""
    form = [{"type": "password", "name": "x", "min_length": 9, "value": "initial-secret"}]
    typist = at(form)
    typist.types("hunter2\n")
    typist.sees("must have at least 9 characters, got 7")
    typist.types("hunter2hunter2\n")
    assert answers(typist) == {"x": "hunter2hunter2"}
    assert "hunter2" not in typist.seen
    assert "secret" not in typist.seen


@pytest.mark.parametrize("end", ["\n", "\x04"], ids=["an empty line", "Ctrl-D"])
def test_a_text_has_lines(at: At, answers: Answers, end: str) -> None:
    """Up to an empty line or Ctrl-D, as the question says."""
    typist = at([{"type": "textarea", "name": "x"}])
    typist.sees("(an empty line or Ctrl-D ends it)")
    typist.types("one\n")
    typist.types("two\n")
    typist.types(end)
    assert answers(typist) == {"x": "one\ntwo"}


def test_a_pasted_text_keeps_its_empty_lines(at: At, answers: Answers) -> None:
    """Pasted text neither ends a text nor answers the next question."""
    typist = at([{"type": "textarea", "name": "x"}, {"type": "text", "name": "y"}])
    typist.types("\x1b[200~one\n\ntwo\x1b[201~\n")
    typist.types("\n")
    typist.types("z\n")
    assert answers(typist) == {"x": "one\n\ntwo", "y": "z"}


def test_a_line_can_be_edited(at: At, answers: Answers) -> None:
    """Cursor keys work if readline is available, also with stdout in a file."""
    typist = at([{"type": "text", "name": "x"}])
    typist.types("bc\x01a\n")  # Ctrl-A: to the start
    assert answers(typist) == {"x": "abc"}


@pytest.mark.parametrize("name", ["C", "C.UTF-8"])
def test_a_letter_is_a_letter_in_any_locale(at: At, answers: Answers, name: str) -> None:
    """Also where readline would drop it."""
    typist = at([{"type": "text", "name": "x"}], env={"LC_ALL": name})
    typist.types("überall\n")
    assert answers(typist) == {"x": "überall"}


def test_asks_for_a_files_path(at: At, answers: Answers, tmp_path: Path) -> None:
    """It must exist; the answer is the same as for `-i`."""
    path = tmp_path / "a file.txt"
    path.write_text("a")
    typist = at([{"type": "file", "name": "x", "required": True}])
    typist.types("nope.txt\n")
    typist.sees("there is no file nope.txt")
    typist.types(f"{tmp_path}\n")
    typist.sees("is not a file")
    typist.types(f"@{path}\n")
    assert answers(typist) == {"x": f"@{path}"}


def test_asks_for_several_files_line_by_line(at: At, answers: Answers, tmp_path: Path) -> None:
    """An empty line ends them; `~` is one's home."""
    (tmp_path / "a").write_text("a")
    form = [{"type": "file", "name": "x", "multiple": True}]
    typist = at(form, env={"HOME": str(tmp_path)})
    typist.types(f"{tmp_path / 'a'}\n")
    typist.types("~/a\n")
    typist.types("\n")
    assert answers(typist) == {"x": [f"@{tmp_path / 'a'}"] * 2}


def test_a_files_url_is_sent_as_it_is(at: At, answers: Answers, tmp_path: Path) -> None:
    """The control plane decides whether it fetches it."""
    (tmp_path / "a").write_text("a")
    typist = at([{"type": "file", "name": "x", "multiple": True}])
    typist.types("https://example.com/a.pdf\n")
    typist.types(f"{tmp_path / 'a'}\n")
    typist.types("\n")
    assert answers(typist) == {"x": ["https://example.com/a.pdf", f"@{tmp_path / 'a'}"]}


def test_a_folder_must_be_one(at: At, answers: Answers, tmp_path: Path) -> None:
    """A path that is not a folder is asked for again."""
    typist = at([{"type": "file", "name": "x", "directory": True}])
    typist.types("/nope\n")
    typist.types("\n")
    typist.sees("there is no folder /nope")
    typist.types(f"{tmp_path}\n")
    typist.types("\n")
    assert answers(typist) == {"x": [f"@{tmp_path}"]}


def test_texts_stand_between_the_fields(at: At, answers: Answers) -> None:
    """Markdown, HTML, space and rules; buttons that only send or leave are not there."""
    form = [
        {"type": "markdown", "text": "Read **this**."},
        {"type": "none", "text": "This costs nothing.", "label": "Price"},
        {"type": "none", "text": "Nor does this."},
        {"type": "html", "text": "<script>no()</script><p>One</p><ul><li>two"},
        {"type": "break"},
        {"type": "hr"},
        {"type": "errors"},
        {"type": "text", "name": "x"},
        {"type": "submit", "text": "Go"},
        {"type": "cancel", "text": "Away"},
    ]
    typist = at(form)
    seen = typist.sees("> ")
    assert [line.rstrip() for line in seen.splitlines()] == [
        "Read \x1b[1mthis\x1b[0m.",
        "Price This costs nothing.",
        "Nor does this.",
        "One",
        "- two",
        "",
        "─" * 40,
        "x",
        ">",
    ]


def test_of_several_buttons_one_is_chosen(at: At, answers: Answers) -> None:
    """By number, value or text; there is no default among actions alone."""
    form = [
        {"type": "action", "name": "do", "value": "yes", "text": "Approve"},
        {"type": "action", "name": "do", "value": "no", "text": "Reject"},
    ]
    typist = at(form)
    typist.types("\n")
    typist.sees("must be one of yes, no")
    typist.types("reject\n")
    assert answers(typist) == {"do": "no"}


def test_a_submit_beside_an_action_is_the_default(at: At, answers: Answers) -> None:
    """Enter sends the form without the action."""
    typist = at([{"type": "action", "name": "do", "value": "no"}, {"type": "submit"}])
    typist.types("\n")
    assert answers(typist) == {}


def test_a_lone_button_is_pressed(at: At, answers: Answers) -> None:
    """There is nothing to choose."""
    assert answers(at([{"type": "action", "name": "do", "value": "go"}])) == {"do": "go"}


@pytest.mark.parametrize(
    ("kind", "key", "how"),
    [
        ("text", "\x03", "KeyboardInterrupt"),
        ("text", "\x04", "Interrupted"),
        ("password", "\x03", "KeyboardInterrupt"),
        ("password", "\x04", "Interrupted"),
        ("textarea", "\x04", "Interrupted"),
    ],
)
def test_one_can_leave(at: At, tmp_path: Path, kind: str, key: str, how: str) -> None:
    """Ctrl-C and Ctrl-D end the form without an answer, also in optional fields."""
    typist = at([{"type": kind, "name": "x"}])
    typist.types(key)
    assert typist.leaves() == 1
    assert typist.seen.endswith(f"\nleft by {how}\n")
    assert (tmp_path / "out").read_text() == ""


def test_control_characters_of_the_server_are_not_obeyed(at: At) -> None:
    """A label can neither move the cursor nor feign another question."""
    form = [
        {"type": "text", "name": "x", "label": "A\x1b[2J\nPassword", "value": "\x1b]0;t\x07"},
        {"type": "select", "name": "s", "option": [{"name": "a\x9b", "label": "b\nc"}]},
    ]
    typist = at(form)
    typist.types("\n")
    typist.sees("> ")
    assert typist.seen.splitlines() == [
        "A\\x1b[2J Password [\\x1b]0;t\\x07]",
        "> ",
        "s",
        "   1  a\\x9b  b c",
        "> ",
    ]


def test_asks_again_for_text_that_is_not_utf8(at: At, answers: Answers) -> None:
    """Nothing is sent that cannot be read."""
    typist = at([{"type": "text", "name": "x"}, {"type": "textarea", "name": "y"}])
    typist.types("\udcff\n")
    typist.sees("is not UTF-8")
    typist.types("ü\n")
    typist.types("\udcff\n")
    typist.sees("is not UTF-8")
    typist.types("\n")
    assert answers(typist) == {"x": "ü"}


def test_a_newer_form_is_refused_in_words(at: At) -> None:
    """An element that this koco does not know is named."""
    typist = at([{"type": "slider", "name": "x"}])
    assert typist.leaves() == 1
    assert "cannot show this form: element 1, type: there is no type 'slider'" in typist.seen
