"""Canonical JSON (RFC 8785): a value has one text, whoever writes it, so that it can be hashed."""

import json
import math
from typing import Any

from koco.errors import UsageError

#: The largest whole number up to which all are exact in a double, which JSON numbers are there.
_EXACT = 2**53
#: Where the point may stand, counted from the first digit, in a number that has no `e`.
_SMALLEST, _LARGEST = -6, 21


def encode(value: Any) -> bytes:
    """Return the canonical text of a JSON value as UTF-8.

    Raises:
        UsageError: the value has no such text: a number is not finite, or a text has half of a
            surrogate pair.
    """
    try:
        return _text(value).encode()
    except UnicodeEncodeError as exc:
        raise UsageError(f"a text is not Unicode: {exc.reason}") from None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        # Sorted by UTF-16, as ECMAScript does. Code points above U+FFFF would be last otherwise.
        pairs = sorted((_utf16(str(name)), str(name), each) for name, each in value.items())
        return "{" + ",".join(f"{_string(name)}:{_text(each)}" for _, name, each in pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    return json.dumps(value)


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def _string(text: str) -> str:
    # Python escapes what the RFC does: `"`, `\` and control characters, these as \b, \t, \n, \f,
    # \r or with lower-case digits.
    return json.dumps(text, ensure_ascii=False)


def _number(value: int | float) -> str:
    """Return a number as ECMAScript writes it."""
    if isinstance(value, int) and abs(value) <= _EXACT:
        return str(value)
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise UsageError("a number is too large for JSON, or is no number")
    if found == 0:
        return "0"  # `-0` has no sign there
    sign, digits, exponent = _parts(found)
    point = exponent + 1
    if _SMALLEST < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if 0 < point <= _LARGEST:
        whole, rest = digits[:point].ljust(point, "0"), digits[point:]
        return f"{sign}{whole}.{rest}" if rest else f"{sign}{whole}"
    fraction = f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{fraction}e{exponent:+d}"


def _parts(value: float) -> tuple[str, str, int]:
    """Return the sign, the shortest digits and the exponent of a number that is not 0.

    Both languages choose the same digits: the fewest that are read as the same double.
    """
    mantissa, _, exponent = repr(value).partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    before = len(whole) if whole != "0" else len(digits) - len(fraction)
    return sign, digits.rstrip("0"), before - 1 + int(exponent or 0)
