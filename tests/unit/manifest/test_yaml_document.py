"""Reading of YAML: places, plain values, and refusals."""

from typing import Any

import pytest

from koco.errors import ManifestError
from koco.manifest.problems import Problem
from koco.manifest.yaml_document import MAX_CHARS, Document


def data(text: str) -> Any:
    document = Document(text, "x.yaml")
    assert document.problems == []
    return document.data


def find_problems(text: str, *more: Problem) -> list[str]:
    try:
        document = Document(text, "x.yaml")
    except ManifestError as exc:
        return exc.problems
    return document.error(list(more)).problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("yes", "yes"), ("on", "on"), ("no", "no"), ("true", True), ("False", False)),
        *(("2026-01-31", "2026-01-31"), ("12:30", "12:30"), ("1_000", "1_000")),
        *(("12", 12), ("-3", -3), ("010", 10), ("0o10", 8), ("0x1F", 31), ("'12'", "12")),
        *(("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-.inf", float("-inf")), ("1.", 1.0)),
        *(("~", None), ("null", None), ("", None), ("nothing", "nothing"), ("!!str 3", "3")),
        *(("[a, [b]]", ["a", ["b"]]), ("{a: {b: 1}}", {"a": {"b": 1}}), ("=", "=")),
        *(("|\n  a\n  b\n", "a\nb\n"), ('"\\u00e9"', "é")),
    ],
)
def test_reads_values_as_in_yaml_1_2(text: str, value: Any) -> None:
    """Like editors. In YAML 1.1, `no` is false, 12:30 is 750 and a date is not text."""
    found = data(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2", "x.yaml:1:9: while parsing a flow sequence, expected ',' or ']'"),
        ("a: b: c", "x.yaml:1:5: mapping values are not allowed here"),
        ("a:\n\t- b", "x.yaml:2:1: while scanning for the next token, found character '\\t'"),
        ("a: \x07", "x.yaml:1:4: the character U+0007 is not allowed in YAML"),
        ("ok: 1\na: b\x07", "x.yaml:2:5: the character U+0007 is not allowed in YAML"),
        ("", "x.yaml:1:1: the file is empty"),
        ("# only this", "x.yaml:1:1: the file is empty"),
        ("a: 1\n---\nb: 2", "x.yaml:2:1: expected a single document"),
        ("a: *none", "x.yaml:1:4: found undefined alias 'none'"),
        ("[" * 20_000, "x.yaml:1:101: nested too deeply"),
        ("a" * (MAX_CHARS + 1), "x.yaml:1:1: longer than"),
    ],
)
def test_refuses_invalid_yaml_at_its_place(text: str, said: str) -> None:
    """With line and column, and always as a `ManifestError`."""
    (problem,) = find_problems(text)
    assert problem.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "x.yaml:3:1: key 'a' is given twice (hint: first on line 1)"),
        ("a: {b: 1, b: 2}", "x.yaml:1:11: a: key 'b' is given twice (hint: first on line 1)"),
        ("1: x", "x.yaml:1:1: a key must be text, got '1' (hint: put it in quotes: \"1\")"),
        ("[a]: x", "x.yaml:1:1: a key must be text, got a list or mapping"),
        ("a: !!python/name:os.system x", "tag !!python/name:os.system is not supported"),
        ("a: !!python/object/apply:os.system [x]", "is not supported"),
        ("a: !mine {b: 1}", "x.yaml:1:4: a: tag !mine is not supported"),
        ("a: !!set {b}", "x.yaml:1:4: a: tag !!set is not supported"),
        ("a: !!binary aGk=", "tag !!binary is not supported"),
        ("a: !!int x", "x.yaml:1:4: a: 'x' is not a valid int"),
        ("a: " + "9" * 5000, "is not a valid int"),
        ("a: &a [*a]", "x.yaml:1:4: a[0]: an alias that contains itself"),
    ],
)
def test_refuses_values_that_are_not_plain(text: str, said: str) -> None:
    """Duplicate keys, tags, and structures that contain themselves."""
    (problem,) = find_problems(text)
    assert said in problem


def test_limits_the_size_of_aliases() -> None:
    """A few lines must not expand to gigabytes. Ordinary reuse is fine."""
    assert data("a: &a [1, 2]\nb: *a") == {"a": [1, 2], "b": [1, 2]}
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))
    (problem,) = find_problems("l0: &l0 [x, x]\n" + levels)
    assert "more than 20000 values, counting those that aliases repeat" in problem


def test_places_are_those_of_the_value_or_the_key() -> None:
    """A missing key has the place of the mapping around it. Problems are in the file's order."""
    text = "a:\n  - name: x\n    b: 1\nlast: 2\n"
    assert find_problems(
        text,
        Problem(("last",), "value"),
        Problem(("a", 0, "b"), "key", on_key=True),
        Problem(("a", 0, "none"), "absent"),
        Problem((), "root", "do it"),
    ) == [
        "x.yaml:1:1: root (hint: do it)",
        "x.yaml:2:5: a[0].none: absent",
        "x.yaml:3:5: a[0].b: key",
        "x.yaml:4:7: last: value",
    ]


def test_omits_problems_that_follow_from_others() -> None:
    """A refused tag leaves no value, which is not a second mistake."""
    found = find_problems("a: !mine x", Problem(("a",), "expected text, got nothing"))
    assert found == ["x.yaml:1:4: a: tag !mine is not supported (hint: plain values only)"]
