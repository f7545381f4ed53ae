"""Inputs from a command line: `-i key=value` over a file of JSON or YAML."""

import io
import sys
from pathlib import Path

import pytest

from koco.cli.inputs import key_values
from koco.errors import UsageError


def test_pairs_stay_text_and_may_hold_an_equals_sign() -> None:
    """The form types values, on the server: `3` and `true` are sent as they were written."""
    assert key_values.gather(["n=3", "q=a=b", "e="], None) == {"n": "3", "q": "a=b", "e": ""}


def test_a_pair_overrides_the_file(tmp_path: Path) -> None:
    """Typed text is newer than the saved one."""
    file = tmp_path / "in.json"
    file.write_text('{"who": "Ada", "size": 3}')
    assert key_values.gather(["who=Bob"], str(file)) == {"who": "Bob", "size": 3}


def test_converts_yaml_to_json_values(tmp_path: Path) -> None:
    """YAML has dates where JSON has text."""
    file = tmp_path / "in.yaml"
    file.write_text("day: 2026-01-31\nat: 2026-01-31T10:00:00Z\nlist: [1, {a: null}]\n")
    found = key_values.gather([], str(file))
    assert found["day"] == "2026-01-31"
    assert found["at"].startswith("2026-01-31T10:00:00")
    assert found["list"] == [1, {"a": None}]


def test_yaml_is_read_as_manifests_are(tmp_path: Path) -> None:
    """The country code `no` stays text, and a time of day is not a number to base 60."""
    file = tmp_path / "in.yaml"
    file.write_text("country: no\nat: 10:30\nok: true\n")
    assert key_values.gather([], str(file)) == {"country": "no", "at": "10:30", "ok": True}


def test_null_is_an_answer_but_an_empty_file_is_not(tmp_path: Path) -> None:
    """A broken pipe before `koco answer --inputs -` does not release the lock."""
    file = tmp_path / "answer.json"
    file.write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        key_values.anything([], str(file))
    file.write_text("null")
    assert key_values.anything([], str(file)) is None


def test_standard_input_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--inputs -` reads stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'\xef\xbb\xbf{"a": 1}')))
    assert key_values.gather([], "-") == {"a": 1}


@pytest.mark.parametrize("pair", ["who", "=x", ""])
def test_refuses_invalid_pairs(pair: str) -> None:
    """A missing `=` is reported with an example."""
    with pytest.raises(UsageError, match="not in the form key=value") as caught:
        key_values.gather([pair], None)
    assert "who=World" in str(caught.value.hint)


def test_a_key_given_twice_is_refused() -> None:
    """Neither value silently wins."""
    with pytest.raises(UsageError, match="'a' is given twice"):
        key_values.gather(["a=1", "a=2"], None)


@pytest.mark.parametrize(
    ("pairs", "option"),
    [
        (["a=cup", "b=x", "a=it's"], """'a=["cup", "it'"'"'s"]'"""),
        (["a=1", 'a={"x": null}'], """'a=[1, {"x": null}]'"""),
        (["a=x", "a=" + "long " * 50], """a='["a", "b"]'"""),
    ],
)
def test_a_key_given_twice_is_shown_as_a_list(pairs: list[str], option: str) -> None:
    """The hint is an option to copy."""
    with pytest.raises(UsageError) as caught:
        key_values.gather(pairs, None)
    assert caught.value.hint == f"a list is one value, in JSON: -i {option}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "contains a list"),
        ("", "is empty"),
        ("a: [", r"in\.yaml:\d:\d+: neither JSON nor YAML"),
        ("1: x", "the key 1 cannot be JSON"),
        ("a: .nan", "nan or infinity"),
        ('{"a": NaN}', "nan or infinity"),
        ("a: !!set {x}", "type set cannot be JSON"),
        ("a: \x00", "neither JSON nor YAML"),
    ],
)
def test_a_file_without_an_object_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Every way in which a file can be wrong is a message, not a traceback."""
    file = tmp_path / "in.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        key_values.gather([], str(file))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message says which file, and why."""
    with pytest.raises(UsageError, match=r"nope\.json: No such file"):
        key_values.gather([], str(tmp_path / "nope.json"))


def test_refuses_text_that_is_not_utf8(tmp_path: Path) -> None:
    """In the file, and in an argument of another locale."""
    file = tmp_path / "in.json"
    file.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UsageError, match="not UTF-8"):
        key_values.gather([], str(file))
    with pytest.raises(UsageError, match="not UTF-8"):
        key_values.gather(["a=\udcff"], None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is given twice"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        ("a: " + "[" * 5000 + "]" * 5000 + " # no JSON", "nested too deep"),
    ],
    ids=["twice", "deep JSON", "deep YAML"],
)
def test_refuses_ambiguous_json(tmp_path: Path, text: str, said: str) -> None:
    """In words, and not taken for something else."""
    path = tmp_path / "inputs.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        key_values.gather((), str(path))
