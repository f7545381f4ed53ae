"""A process's output never contains the values of its secrets, however they are quoted or cut."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koco.events import line
from koco.events.model import Kind
from koco.runner.output.lines import LINE_CHARS, Output
from koco.sdk.process import secrets
from koco.sdk.process.secrets import Masks
from koco.sdk.process.tracebacks import describe
from koco.tokens import MASK

VALUE = 'se"sam\\e öpen/7d'


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(line, "mask", None)
    monkeypatch.setattr(secrets, "masks", Masks(()))
    monkeypatch.delenv("TOKEN", raising=False)
    monkeypatch.setenv("TOKEN", "")  # so that it is restored
    secrets.set_values({"TOKEN": VALUE}, Masks([VALUE]))
    yield


@pytest.mark.parametrize(
    "said",
    [
        VALUE,
        repr(VALUE),
        json.dumps(VALUE),
        json.dumps({"deep": json.dumps(VALUE)}),
        f"https://x/?key={quote(VALUE, safe='')}",
    ],
    ids=["plain", "repr", "json", "json in json", "url"],
)
def test_a_value_is_masked_in_each_form(learnt: None, said: str) -> None:
    """As flows print, log and send it."""
    event = line.decode(1, line.encode(Kind.STDOUT, f"<{said}>"))
    assert "sam" not in event["payload"]
    assert MASK in event["payload"]


def test_masks_keys_numbers_and_nested_values(learnt: None) -> None:
    """The rest stays unchanged."""
    payload = {"list": [{VALUE: 1, "n": 1.5, "t": True, "none": None}], "text": f"a{VALUE}b"}
    assert line.decode(1, line.encode(Kind.FINAL, payload))["payload"] == {
        "list": [{MASK: 1, "n": 1.5, "t": True, "none": None}],
        "text": f"a{MASK}b",
    }
    masks = Masks(["123456"])
    assert masks.payload(b'{"n":9123456,"m":12345}') == b'{"n":"********","m":12345}'


@given(st.text(min_size=6), st.text(), st.text())
def test_masked_json_stays_json(value: str, before: str, after: str) -> None:
    """Even if a value looks like a part of JSON's own syntax."""
    payload = {"k": before + value + after, "n": [1, "n"], "nabcdef": "\nabcdef"}
    try:
        encoded = msgspec.json.encode(payload)
    except UnicodeEncodeError:
        return
    decoded = msgspec.json.decode(Masks([value]).payload(encoded))
    assert value not in decoded["k"].replace(MASK, "\x00")


def test_masks_a_value_across_pieces(learnt: None) -> None:
    """A line of more than a megabyte comes in pieces, and no piece has half of the value."""
    for at in (LINE_CHARS - 20, LINE_CHARS - 3, LINE_CHARS, 2 * LINE_CHARS - 3):
        told: list[str] = []
        output = Output(lambda kind, text, told=told: told.append(text))  # type: ignore[misc]
        text = "x" * at + VALUE + "y" * 3000 + "\n"
        output.write(Kind.STDOUT, text[: at + 5])
        output.write(Kind.STDOUT, text[at + 5 :])
        output.finish()
        whole = "".join(piece for piece in told if not piece.startswith("koco: "))
        assert f"x{MASK}y" in whole
        assert "sam" not in whole


def test_a_large_payload_is_masked_before_it_is_cut(
    learnt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept part never ends with half of a value."""
    monkeypatch.setattr(line, "PAYLOAD_BYTES", 100)
    monkeypatch.setattr(line, "_START_BYTES", 20)
    event = line.encode(Kind.FINAL, "0123456789" + VALUE + "x" * 200)
    assert b"sam" not in event


def test_masks_single_lines_of_a_value() -> None:
    """A key in PEM may be printed line by line."""
    masks = Masks(["-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\n"])
    assert masks.text("MIIEvQIBADANBg") == MASK
    assert masks.text("short") == "short"


def test_short_values_are_not_masked() -> None:
    """`1234` is in many texts."""
    assert Masks(["12345"]).text("12345") == "12345"
    assert Masks([]).payload(b'"x"') == b'"x"'


def test_masks_an_errors_message_and_traceback(learnt: None) -> None:
    """A deploy's error is one of these, too."""
    try:
        raise ValueError(VALUE)
    except ValueError as exc:
        told = describe(exc)
    assert told["message"] == MASK
    assert "sam" not in told["traceback"]
