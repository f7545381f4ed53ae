"""Patterns of forms: the same meaning as in Python, in limited time."""

import asyncio
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koco import forms as F  # noqa: N812 - as flows import it
from koco.errors import InputsError
from koco.forms import FormError, patterns
from tests.unit.conftest import examples


def optional(number: int) -> str:
    """Return the pattern of the issue, for which Python's engine tries 2 ** `number` ways."""
    return "a?" * number + "a" * number


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        *((optional(number), "a" * number, True) for number in (29, 31, 300)),
        ("(a+)+b", "a" * 60, False),
        ("(a|aa)+", "a" * 80 + "b", False),
        (".*a.*a.*a.*b", "a" * 5000, False),
        (r"(\w+\s?)*", "äß " * 5000, True),
        ("(?:(?:(?:a*)*)*)*b", "a" * 5000, False),
    ],
)
def test_matching_time_depends_only_on_length(pattern: str, text: str, *, fits: bool) -> None:
    """Patterns that explode in other engines match at once, with the right result."""
    form = F.Model(F.InputText(name="x", pattern=pattern))
    began = time.thread_time()
    assert _fits(form, text) is fits
    assert time.thread_time() - began < 1


def _fits(form: F.Model, text: str) -> bool:
    try:
        return form.validate({"x": text}) == {"x": text}
    except InputsError as exc:
        assert exc.errors == {
            "x": [f"must match the pattern {form.fields[0].to_dict()['pattern']}"]
        }
        return False


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(?=.*[0-9]).+", "without a look ahead or behind"),
        ("(?!x).+", "without a look ahead or behind"),
        ("(?<=x)y", "without a look ahead or behind"),
        ("(?<!x)y", "without a look ahead or behind"),
        ("(?!)", "without a look ahead or behind"),
        (r"(a|b)\1", "without a reference to a group"),
        ("(a)?(?(1)b|c)", "without a condition on a group"),
        ("(?>a+)b", "without an atomic group"),
        ("a++b", "without a possessive repetition"),
        (r"\bword\b", "with the flag (?a)"),
        ("(", "missing ), unterminated subpattern at position 0"),
        ("a{1,1001}", "it may repeat 1000 times at most"),
        ("(?:[a-z]{1,100} ){1,100}", "it may repeat 1000 times at most"),
        (r"\w{1,900}", "counts for many characters"),
        (r"\w" * 1000, "counts for many characters"),
        ("x" * 5001, "of at most 5000 characters"),
        ("(" * 2000 + ")" * 2000, "not nested too deep"),
    ],
)
def test_refuses_patterns_without_a_time_limit(pattern: str, said: str) -> None:
    """At the definition, quickly, and with the reason."""
    began = time.thread_time()
    with pytest.raises(FormError, match=re.escape(said)):
        F.InputText(name="x", pattern=pattern)
    assert time.thread_time() - began < 2


#: What authors write, piece by piece; Python and RE2 read some of it differently.
PIECES = st.sampled_from(
    [
        *(
            "a",
            "B",
            "é",
            "ß",
            ".",
            r"\.",
            r"\d",
            r"\D",
            r"\w",
            r"\W",
            r"\s",
            r"\S",
            r"\u00e9",
            r"\x41",
        ),
        *(
            "[a-f]",
            "[^a]",
            r"[\w.-]",
            r"[^\W\d_]",
            r"[\s\d]",
            r"[^\s]",
            "[]a]",
            "[^]]",
            r"[\]^-]",
            r"[^\W_]",
            r"[^\W\d]",
            "[é-ü]",
        ),
        *("^", "$", r"\A", r"\Z", "\n", " ", r"\-", r"\/", "{", "}", ",", r"\<", r"\N{BULLET}"),
    ]
)
REPEATED = st.builds(
    lambda piece, times: f"(?:{piece}){times}",
    PIECES,
    st.sampled_from(["*", "+", "?", "{2}", "{,2}", "{1,}", "*?", "{0,2}?"]),
)
PATTERNS = st.builds(
    lambda flags, branches: flags + "|".join(branches),
    st.sampled_from(["", "(?s)", "(?m)", "(?a)", "(?x)"]),
    st.lists(st.lists(PIECES | REPEATED, max_size=4).map("".join), min_size=1, max_size=3),
)
TEXTS = st.text("aAbBfé\u00e8ßxX_-.1٣ \n\t\u2028{},]^<•", max_size=6)


@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=5))
@settings(max_examples=examples(400))
def test_a_pattern_means_the_same_as_in_python(pattern: str, texts: list[str]) -> None:
    """For letters, digits and blanks of all languages, flags, sets, escapes and ends."""
    try:
        compiled = re.compile(pattern)
    except re.error:
        with pytest.raises(ValueError, match="must be a regular expression"):
            patterns.check(pattern)
        return
    patterns.check(pattern)
    for text in texts:
        # Python's `$` also matches before a final newline. A form matches the whole text.
        if text.endswith("\n") and "$" in pattern:
            continue
        fits = compiled.fullmatch(text) is not None
        assert patterns.matches(pattern, text) is fits, (pattern, text)


def test_half_a_surrogate_pair_is_a_character() -> None:
    """JSON may contain one, and it must not break the check."""
    form = F.Model(F.InputText(name="x", pattern="a.b"))
    assert form.validate({"x": "a\ud800b"}) == {"x": "a\ud800b"}
    with pytest.raises(InputsError):
        form.validate({"x": "\ud800"})


def test_limits_the_cost_of_a_form() -> None:
    """For any number of patterns, and for any length of defaults."""
    wide = [
        {"type": "text", "name": f"n{n}", "pattern": rf"\w{{1,30}}[{chr(97 + n)}]"}
        for n in range(20)
    ]
    with pytest.raises(FormError, match="too large, together with those before it") as caught:
        F.Model.from_list(wide)
    assert (caught.value.problems[0].index, caught.value.problems[0].property) == (3, "pattern")
    with pytest.raises(FormError, match="together"):
        F.Model(*(F.InputText(name=each["name"], pattern=each["pattern"]) for each in wide))
    alike = [{**each, "pattern": r"\w{1,30}"} for each in wide]
    assert len(F.Model.from_list(alike).fields) == 20
    long = [{**each, "value": "a" * 10_000} for each in alike]
    began = time.thread_time()
    with pytest.raises(FormError, match="too long to be matched with its pattern"):
        F.Model.from_list(long)
    assert time.thread_time() - began < 1


def test_refuses_texts_that_take_more_than_a_second() -> None:
    """At the field that takes longest, before any match."""
    form = F.Model(
        F.InputText(name="short", pattern=r"\w{1,30}"),
        F.InputText(name="long", pattern=r"\w{1,40}"),
    )
    began = time.thread_time()
    with pytest.raises(InputsError) as caught:
        form.validate({"short": "a", "long": "a" * 2_000_000})
    assert caught.value.errors == {"long": ["is too long to be matched with its pattern"]}
    assert time.thread_time() - began < 1


def test_a_long_match_does_not_block_the_loop() -> None:
    """It runs in a thread and does not hold the GIL."""
    pattern = "[ab]*a[ab]{300}c"
    text = "ab" * 20_000
    form = F.Model(F.InputText(name="x", pattern=pattern))
    assert patterns.QUICK_STEPS < patterns.steps(pattern, text) <= patterns.MOST_STEPS

    async def main() -> Any:
        checks = [asyncio.ensure_future(form.validate_async({"x": text})) for _ in range(5)]
        turns = 0
        while not all(check.done() for check in checks):
            await asyncio.sleep(0)
            turns += 1
        assert all(isinstance(check.exception(), InputsError) for check in checks)
        return turns

    assert asyncio.run(main()) > 1, "the checks held up the loop until they were done"


def test_without_the_engine_python_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """In commands, if `koco-deploy[ray]` is not installed. It refuses the same patterns."""
    import sys

    monkeypatch.setitem(sys.modules, "re2", None)
    patterns._compile.cache_clear()
    try:
        assert patterns.matches("[a-z]+é", "abcé")
        assert not patterns.matches("[a-z]+", "ABC")
        with pytest.raises(ValueError, match="look ahead"):
            patterns.check("(?=a)a")
    finally:
        patterns._compile.cache_clear()
