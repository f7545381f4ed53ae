r"""Patterns that a form's author wrote, matched against a user's input.

Python's engine can take practically for ever over thirty characters, cannot be interrupted, and
blocks its whole process. So RE2 matches the patterns: its time only grows with the length of the
text and the size of the pattern.

Authors write Python's syntax. Python's own parser reads it, and this module translates it for RE2,
so a pattern means the same as in Python: `\w` matches a letter of any language, for example. RE2
has no look-ahead, look-behind or back-references, so a form with those is refused.
"""

import functools
import re
from collections.abc import Iterator
from re import _constants as op  # type: ignore[attr-defined]  # private; hypothesis uses them, too
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

#: The most steps that the patterns of one validation may take: about a second at worst. A step is
#: one instruction of the compiled pattern at one byte of the text.
MOST_STEPS = 50_000_000
#: The most steps that may run on the event loop: about ten milliseconds at worst.
QUICK_STEPS = 500_000
#: The most that compiling the patterns of one form may cost (instructions). 1,300 of them take a
#: millisecond, in which nothing else runs.
MOST_COST = 150_000

#: RE2's memory for one pattern: it refuses patterns of more than 140,000 instructions.
_MAX_BYTES = 2 << 20
#: The cost of reading a character of a pattern, and of a refusal by RE2 (instructions).
_COST_OF_CHARACTER, _COST_OF_REFUSAL = 10, 25_000
#: The longest pattern that a person would write (characters).
_LONGEST = 5_000
#: The longest translated pattern (characters). Each set of the letters of all languages counts for
#: 1,000, because RE2 takes a millisecond to read one.
_LONGEST_TRANSLATED, _WIDE, _LENGTH_OF_WIDE = 50_000, r"\p{L}", 1_000

_TOO_LARGE = (
    "must be a smaller regular expression: it may repeat 1000 times at most, in all, and \\w"
    " counts for many characters; a length is limited by max_length"
)

#: The contents of `\d`, `\s` and `\w` in RE2's sets: for Unicode, and with the flag `(?a)`.
_SETS = {
    op.CATEGORY_DIGIT: (r"\p{Nd}", "0-9"),
    op.CATEGORY_SPACE: (r"\t-\r\x1c-\x1f\x85\p{Z}", r"\t-\r "),
    op.CATEGORY_WORD: (r"\p{L}\p{N}_", "0-9A-Za-z_"),
}
#: The categories that `\D`, `\S` and `\W` exclude.
_COMPLEMENTS = {
    op.CATEGORY_NOT_DIGIT: (op.CATEGORY_DIGIT, "d"),
    op.CATEGORY_NOT_SPACE: (op.CATEGORY_SPACE, "s"),
    op.CATEGORY_NOT_WORD: (op.CATEGORY_WORD, "w"),
}
#: Unicode has no letters, digits or blanks from here on, because later planes have other uses.
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
    """A pattern compiled by RE2 (None if RE2 is not installed), or the reason why it cannot be."""

    engine: Any
    cost: int
    fault: str | None = None


def check(pattern: str) -> str:
    """Return the pattern, or raise `ValueError` if it cannot be matched."""
    _engine(pattern)
    return pattern


def cost(pattern: str) -> int:
    """Return the cost of compiling a pattern (instructions). Each process compiles it once."""
    return _compile(pattern).cost


def steps(pattern: str, text: str) -> int:
    """Return the most steps that a match can take; 0 if RE2 is missing or refuses the pattern."""
    engine = _compile(pattern).engine
    return 0 if engine is None else engine.programsize * len(_encode(text))


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern matches the whole text. The caller has to check `steps` first.

    RE2 comes with `koco-deploy[ray]`. Without it, Python's engine matches: that happens only in
    commands, where users match their own text.

    Raises:
        ValueError: the pattern cannot be matched.
    """
    engine = _engine(pattern)
    if engine is None:
        return re.fullmatch(pattern, text) is not None
    return engine.fullmatch(_encode(text)) is not None


def _encode(text: str) -> bytes:
    # JSON may contain half a surrogate pair. RE2 takes it as a character.
    return text.encode("utf-8", "surrogatepass")


def _engine(pattern: str) -> Any:
    compiled = _compile(pattern)
    if compiled.fault is not None:
        raise ValueError(compiled.fault)
    return compiled.engine


@functools.lru_cache(maxsize=1024)
def _compile(pattern: str) -> _Compiled:
    cost = min(len(pattern), _LONGEST) * _COST_OF_CHARACTER
    try:
        translated = translate(pattern)
    except ValueError as exc:
        return _Compiled(None, cost, str(exc))
    try:
        import re2  # type: ignore[import-untyped]  # here, because the import takes 10 ms
    except ImportError:
        return _Compiled(None, cost)
    options = re2.Options()
    options.max_mem = _MAX_BYTES
    options.never_capture = True
    options.log_errors = False
    try:
        engine = re2.compile(translated, options)
    except re2.error as exc:
        reason = exc.args[0] if exc.args else ""
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        is_size = "too large" in reason or "repetition size" in reason
        fault = (
            _TOO_LARGE if is_size else f"must be a regular expression that RE2 can match: {reason}"
        )
        return _Compiled(None, cost + _COST_OF_REFUSAL, fault)
    return _Compiled(engine, cost + engine.programsize)


def translate(pattern: str) -> str:
    """Return a pattern in RE2's syntax; raise `ValueError` if RE2 cannot express it."""
    if len(pattern) > _LONGEST:
        raise ValueError(f"must be a regular expression of at most {_LONGEST} characters")
    try:
        parsed = parser.parse(pattern)
        translated = "".join(_translate(parsed, parsed.state.flags))
    except re.error as exc:
        raise ValueError(f"must be a regular expression: {exc}") from None
    except (RecursionError, OverflowError):
        raise ValueError("must be a regular expression that is not nested too deep") from None
    if len(translated) + _LENGTH_OF_WIDE * translated.count(_WIDE) > _LONGEST_TRANSLATED:
        raise ValueError(_TOO_LARGE)
    return translated


def _translate(parsed: Any, flags: int) -> Iterator[str]:
    for kind, node in parsed:
        if kind in _REFUSED:
            message = f"must be a regular expression without {_REFUSED[kind]}"
            raise ValueError(f"{message}: its time would have no limit")
        yield _TRANSLATORS[kind](node, flags)


def _group(parsed: Any, flags: int) -> str:
    return f"(?:{''.join(_translate(parsed, flags))})"


def _subpattern(node: Any, flags: int) -> str:
    _, added, removed, parsed = node
    # These three flags exclude each other, so a new one replaces the old one.
    kinds = re.ASCII | re.UNICODE | re.LOCALE
    others = flags & ~kinds if added & kinds else flags
    return _group(parsed, (others | added) & ~removed)


def _repeat(node: Any, flags: int) -> str:
    low, high, parsed = node
    # Greediness does not change whether the pattern matches, so it is left out.
    return f"{_group(parsed, flags)}{{{low},{'' if high is op.MAXREPEAT else high}}}"


def _character(code: int) -> str:
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else f"\\x{{{code:x}}}"


def _with_case(translated: str, flags: int) -> str:
    return f"(?i:{translated})" if flags & re.IGNORECASE else translated


def _set(members: Any, flags: int) -> str:
    is_ascii = bool(flags & re.ASCII)
    kind, only = members[0]
    if len(members) == 1 and kind is op.CATEGORY and only in _COMPLEMENTS:
        return f"[^{_SETS[_COMPLEMENTS[only][0]][is_ascii]}]"
    if kind is op.NEGATE and not is_ascii and (letters := _letters(members[1:])):
        return letters
    return _with_case(f"[{''.join(_member(*each, is_ascii=is_ascii) for each in members)}]", flags)


def _letters(excluded: Any) -> str | None:
    r"""Return `[^\W\d_]`, the usual way to write a letter, by its names: its ranges are long."""
    rest = {*excluded} - {(op.CATEGORY, op.CATEGORY_NOT_WORD)}
    numbers = r"\p{Nl}\p{No}" if (op.CATEGORY, op.CATEGORY_DIGIT) in rest else r"\p{N}"
    underscore = "" if (op.LITERAL, ord("_")) in rest else "_"
    known = {(op.CATEGORY, op.CATEGORY_DIGIT), (op.LITERAL, ord("_"))}
    is_word = len(rest) < len({*excluded}) and rest <= known
    return rf"[\p{{L}}{numbers}{underscore}]" if is_word else None


def _member(kind: Any, node: Any, *, is_ascii: bool) -> str:
    if kind is op.NEGATE:
        return "^"
    if kind is op.RANGE:
        return f"{_character(node[0])}-{_character(node[1])}"
    if kind is op.LITERAL:
        return _character(node)
    if node in _COMPLEMENTS:
        return _complement(_COMPLEMENTS[node][1], is_ascii)
    return _SETS[node][is_ascii]


@functools.cache
def _complement(category: str, is_ascii: bool) -> str:
    """Return a set such as `\\W` as ranges, because a set of RE2 cannot contain a negated one."""
    searched = "".join(map(chr, range(_LAST_LETTER)))
    runs = re.finditer(rf"[^\{category}]+", searched, re.ASCII if is_ascii else 0)
    ranges = [f"\\x{{{run.start():x}}}-\\x{{{run.end() - 1:x}}}" for run in runs]
    return "".join([*ranges, f"\\x{{{_LAST_LETTER:x}}}-\\x{{10ffff}}"])


def _position(node: Any, flags: int) -> str:
    if node in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
        if not flags & re.ASCII:
            raise ValueError(
                r"must be a regular expression without \b, or with the flag (?a):"
                " RE2 knows the ends of words of ASCII only"
            )
        return r"\b" if node is op.AT_BOUNDARY else r"\B"
    if flags & re.MULTILINE and node in _ENDS:
        return f"(?m:{_ENDS[node]})"
    return _WHOLE_ENDS[node]


#: The function that translates each kind of node.
_TRANSLATORS = {
    op.LITERAL: lambda code, flags: _with_case(_character(code), flags),
    op.NOT_LITERAL: lambda code, flags: _with_case(f"[^{_character(code)}]", flags),
    op.ANY: lambda _, flags: "(?s:.)" if flags & re.DOTALL else r"[^\n]",
    op.IN: _set,
    op.BRANCH: lambda node, flags: f"(?:{'|'.join(_group(each, flags) for each in node[1])})",
    op.SUBPATTERN: _subpattern,
    op.MAX_REPEAT: _repeat,
    op.MIN_REPEAT: _repeat,
    op.AT: _position,
}
