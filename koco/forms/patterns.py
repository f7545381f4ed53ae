r"""Patterns that a form's author wrote, matched against what somebody else typed.

Python's own engine may take longer than the universe lasts over thirty characters, cannot be
interrupted, and holds up everything else in its process. So patterns are matched by RE2, whose
time grows with the length of the text and with the size of the pattern, and with nothing else.

Authors write Python's syntax. It is read by Python's own parser and written anew for RE2, so a
pattern means what it means in Python: `\w` is a letter of any language, as it is there. What RE2
cannot match in such a time (what looks ahead, or back at a group) is refused where it is written.
"""

import functools
import re
from collections.abc import Iterator
from re import _constants as op  # type: ignore[attr-defined]  # as they are: hypothesis reads them, too
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

#: The most steps that a check of inputs may take for its patterns: about a second at the worst. A
#: step is one instruction of the compiled pattern at one byte of the text.
MOST_STEPS = 50_000_000
#: The most steps that others may be made to wait for: about ten milliseconds at the worst.
QUICK_STEPS = 500_000
#: The most that compiling the patterns of one form may cost (instructions): a millisecond for each
#: 1,300, in which nothing else runs.
MOST_COST = 150_000

#: What RE2 may use for one pattern: it refuses what compiles to more than 140,000 instructions.
_MAX_BYTES = 2 << 20
#: What reading a character of a pattern costs, and what RE2's refusal does (instructions).
_COST_OF_CHARACTER, _COST_OF_REFUSAL = 10, 25_000
#: More is no pattern that a person wrote (characters).
_LONGEST = 5_000
#: How much RE2 is given to read, where each set with the letters of all languages counts for more
#: than its name is long (characters): it takes a millisecond to read one.
_LONGEST_WRITTEN, _WIDE, _LENGTH_OF_WIDE = 50_000, r"\p{L}", 1_000

_TOO_LARGE = (
    "must be a smaller regular expression: it may repeat 1000 times at most, in all, and \\w"
    " counts for many characters; a length is limited by max_length"
)

#: What `\d`, `\s` and `\w` stand for in RE2's sets: of text, and with the flag `(?a)`.
_SETS = {
    op.CATEGORY_DIGIT: (r"\p{Nd}", "0-9"),
    op.CATEGORY_SPACE: (r"\t-\r\x1c-\x1f\x85\p{Z}", r"\t-\r "),
    op.CATEGORY_WORD: (r"\p{L}\p{N}_", "0-9A-Za-z_"),
}
#: What `\D`, `\S` and `\W` leave out.
_OTHERS = {
    op.CATEGORY_NOT_DIGIT: (op.CATEGORY_DIGIT, "d"),
    op.CATEGORY_NOT_SPACE: (op.CATEGORY_SPACE, "s"),
    op.CATEGORY_NOT_WORD: (op.CATEGORY_WORD, "w"),
}
#: Unicode has no letters, digits or blanks from here on: its later planes are for other uses.
_LAST_LETTER = 0x40000
_ENDS = {op.AT_BEGINNING: "^", op.AT_END: "$"}
_WHOLE_ENDS = {
    op.AT_BEGINNING: r"\A",
    op.AT_BEGINNING_STRING: r"\A",
    op.AT_END: r"\z",
    op.AT_END_STRING: r"\z",
}
_REFUSED = {
    op.ASSERT: "a look ahead or behind, (?=…) or (?<=…)",
    op.ASSERT_NOT: "a look ahead or behind, (?!…) or (?<!…)",
    op.FAILURE: "a look ahead or behind, (?!…) or (?<!…)",
    op.GROUPREF: r"a reference to a group, \1 or (?P=name)",
    op.GROUPREF_EXISTS: "a condition on a group, (?(1)…)",
    op.ATOMIC_GROUP: "an atomic group, (?>…)",
    op.POSSESSIVE_REPEAT: "a possessive repetition, such as a++",
}


class _Compiled(NamedTuple):
    """A pattern in RE2's form (None where RE2 is not installed), or what is wrong with it."""

    engine: Any
    cost: int
    fault: str | None = None


def check(pattern: str) -> str:
    """Return a pattern that can be matched; raise `ValueError` with what is wrong with another."""
    _engine(pattern)
    return pattern


def cost(pattern: str) -> int:
    """Return what compiling a pattern costs, once in each process (instructions)."""
    return _compiled(pattern).cost


def steps(pattern: str, text: str) -> int:
    """Return how many steps a match takes at the worst; 0 where there is nothing to match with."""
    engine = _compiled(pattern).engine
    return 0 if engine is None else engine.programsize * len(_encoded(text))


def matches(pattern: str, text: str) -> bool:
    """Say whether a pattern matches the whole text; the caller has looked at `steps`.

    Without RE2, which comes with `koco[ray]`, Python's engine does it: at a terminal, for whoever
    typed the text.

    Raises:
        ValueError: the pattern cannot be matched.
    """
    engine = _engine(pattern)
    if engine is None:
        return re.fullmatch(pattern, text) is not None
    return engine.fullmatch(_encoded(text)) is not None


def _encoded(text: str) -> bytes:
    # JSON may hold half a surrogate pair: RE2 takes it for one more character.
    return text.encode("utf-8", "surrogatepass")


def _engine(pattern: str) -> Any:
    found = _compiled(pattern)
    if found.fault is not None:
        raise ValueError(found.fault)
    return found.engine


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> _Compiled:
    cost = min(len(pattern), _LONGEST) * _COST_OF_CHARACTER
    try:
        written = translated(pattern)
    except ValueError as exc:
        return _Compiled(None, cost, str(exc))
    try:
        import re2  # type: ignore[import-untyped]  # here: 10 ms, for those who match
    except ImportError:
        return _Compiled(None, cost)
    options = re2.Options()
    options.max_mem = _MAX_BYTES
    options.never_capture = True
    options.log_errors = False
    try:
        engine = re2.compile(written, options)
    except re2.error as exc:
        return _Compiled(None, cost + _COST_OF_REFUSAL, _told(exc))
    return _Compiled(engine, cost + engine.programsize)


def _told(exc: Exception) -> str:
    """Return in our words why RE2 refuses a pattern."""
    said = exc.args[0] if exc.args else ""
    said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    if "too large" in said or "repetition size" in said:
        return _TOO_LARGE
    return f"must be a regular expression that RE2 can match: {said}"


def translated(pattern: str) -> str:
    """Return a pattern in RE2's syntax; raise `ValueError` where there is none."""
    if len(pattern) > _LONGEST:
        raise ValueError(f"must be a regular expression of at most {_LONGEST} characters")
    try:
        parsed = parser.parse(pattern)
        written = "".join(_written(parsed, parsed.state.flags))
    except re.error as exc:
        raise ValueError(f"must be a regular expression: {exc}") from None
    except (RecursionError, OverflowError):
        raise ValueError("must be a regular expression that is not nested too deep") from None
    if len(written) + _LENGTH_OF_WIDE * written.count(_WIDE) > _LONGEST_WRITTEN:
        raise ValueError(_TOO_LARGE)
    return written


def _written(parsed: Any, flags: int) -> Iterator[str]:
    for kind, about in parsed:
        if kind in _REFUSED:
            said = f"must be a regular expression without {_REFUSED[kind]}"
            raise ValueError(f"{said}: its time would have no limit")
        yield _ONE[kind](about, flags)


def _group(parsed: Any, flags: int) -> str:
    return f"(?:{''.join(_written(parsed, flags))})"


def _subpattern(about: Any, flags: int) -> str:
    _, added, removed, parsed = about
    # One of the three that say which characters `\w` knows takes the others' place.
    kinds = re.ASCII | re.UNICODE | re.LOCALE
    kept = flags & ~kinds if added & kinds else flags
    return _group(parsed, (kept | added) & ~removed)


def _repeated(about: Any, flags: int) -> str:
    low, high, parsed = about
    # Whether it matches is all that is asked, so greed makes no difference.
    return f"{_group(parsed, flags)}{{{low},{'' if high is op.MAXREPEAT else high}}}"


def _character(code: int) -> str:
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else f"\\x{{{code:x}}}"


def _cased(written: str, flags: int) -> str:
    return f"(?i:{written})" if flags & re.IGNORECASE else written


def _set(about: Any, flags: int) -> str:
    is_ascii = bool(flags & re.ASCII)
    kind, only = about[0]
    if len(about) == 1 and kind is op.CATEGORY and only in _OTHERS:
        return f"[^{_SETS[_OTHERS[only][0]][is_ascii]}]"
    if kind is op.NEGATE and not is_ascii and (letters := _letters(about[1:])):
        return letters
    return _cased(f"[{''.join(_member(*each, is_ascii=is_ascii) for each in about)}]", flags)


def _letters(left_out: Any) -> str | None:
    r"""Return what `[^\W\d_]` is, the usual way to write a letter: as ranges it would be long."""
    rest = {*left_out} - {(op.CATEGORY, op.CATEGORY_NOT_WORD)}
    numbers = r"\p{Nl}\p{No}" if (op.CATEGORY, op.CATEGORY_DIGIT) in rest else r"\p{N}"
    line = "" if (op.LITERAL, ord("_")) in rest else "_"
    known = {(op.CATEGORY, op.CATEGORY_DIGIT), (op.LITERAL, ord("_"))}
    is_word = len(rest) < len({*left_out}) and rest <= known
    return rf"[\p{{L}}{numbers}{line}]" if is_word else None


def _member(kind: Any, about: Any, *, is_ascii: bool) -> str:
    if kind is op.NEGATE:
        return "^"
    if kind is op.RANGE:
        return f"{_character(about[0])}-{_character(about[1])}"
    if kind is op.LITERAL:
        return _character(about)
    return _outside(_OTHERS[about][1], is_ascii) if about in _OTHERS else _SETS[about][is_ascii]


@functools.cache
def _outside(category: str, is_ascii: bool) -> str:
    """Return what is in `\\W`, say, as ranges: RE2's sets cannot leave out in the midst of one."""
    searched = "".join(map(chr, range(_LAST_LETTER)))
    runs = re.finditer(rf"[^\{category}]+", searched, re.ASCII if is_ascii else 0)
    ranges = [f"\\x{{{run.start():x}}}-\\x{{{run.end() - 1:x}}}" for run in runs]
    return "".join([*ranges, f"\\x{{{_LAST_LETTER:x}}}-\\x{{10ffff}}"])


def _place(about: Any, flags: int) -> str:
    if about in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
        if not flags & re.ASCII:
            raise ValueError(
                r"must be a regular expression without \b, or with the flag (?a):"
                " RE2 knows the ends of words of ASCII only"
            )
        return r"\b" if about is op.AT_BOUNDARY else r"\B"
    if flags & re.MULTILINE and about in _ENDS:
        return f"(?m:{_ENDS[about]})"
    return _WHOLE_ENDS[about]


_ONE = {
    op.LITERAL: lambda code, flags: _cased(_character(code), flags),
    op.NOT_LITERAL: lambda code, flags: _cased(f"[^{_character(code)}]", flags),
    op.ANY: lambda _, flags: "(?s:.)" if flags & re.DOTALL else r"[^\n]",
    op.IN: _set,
    op.BRANCH: lambda about, flags: f"(?:{'|'.join(_group(each, flags) for each in about[1])})",
    op.SUBPATTERN: _subpattern,
    op.MAX_REPEAT: _repeated,
    op.MIN_REPEAT: _repeated,
    op.AT: _place,
}
