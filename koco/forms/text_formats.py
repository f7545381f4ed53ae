"""Readers of text in a format; see `readers` for their rules."""

import datetime as dt
import re

from koco.forms import readers

#: The patterns of a colour, a month and a week.
COLOR = "#[0-9a-fA-F]{6}"
MONTH = "[0-9]{4}-(0[1-9]|1[0-2])"
WEEK = "[0-9]{4}-W[0-9]{2}"

#: HTML's rule for `<input type=email>`.
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s<>\"\x00-\x1f\x7f]+")
_TEL = re.compile(r"[+(]?[0-9][0-9 ()./,;*#x+-]*")
_COLOR, _MONTH, _WEEK = re.compile(COLOR), re.compile(MONTH), re.compile(WEEK)

#: The longest address (RFC 5321), URL and telephone number (characters).
_MOST_EMAIL, _MOST_URL, _MOST_TEL = 254, 8_000, 64


def email(raw: object) -> str:
    """Read an e-mail address."""
    return _fit(raw, _EMAIL, "an e-mail address like ada@example.org", _MOST_EMAIL)


def url(raw: object) -> str:
    """Read a URL with a scheme and a host."""
    # Here, because few forms have a URL and it takes 3 ms to import.
    import urllib.parse

    wanted = "a URL like https://example.com/page"
    found = _fit(raw, _URL, wanted, _MOST_URL)
    try:
        parts = urllib.parse.urlsplit(found)
        # Reading the port checks it.
        if parts.hostname and (parts.port is None or parts.port >= 0):
            return found
    except ValueError:
        pass  # a port that is not a number, or half an IPv6 address
    raise ValueError(f"must be {wanted}, got {readers.show(raw)}")


def tel(raw: object) -> str:
    """Read a telephone number: digits, with the signs that people put between them."""
    return _fit(raw, _TEL, "a telephone number like +49 30 123456", _MOST_TEL)


def color(raw: object) -> str:
    """Read `#rrggbb`; return it in lower case."""
    return _fit(raw, _COLOR, "a colour like #ff8800").lower()


def month(raw: object) -> str:
    """Read `YYYY-MM`."""
    wanted = "a month like 2026-01"
    found = _fit(raw, _MONTH, wanted)
    if found.startswith("0000"):
        raise ValueError(f"must be {wanted}, got {readers.show(raw)}")
    return found


def week(raw: object) -> str:
    """Read `YYYY-Www`, a week of ISO 8601."""
    wanted = "a week like 2026-W05"
    found = _fit(raw, _WEEK, wanted)
    try:
        dt.date.fromisocalendar(int(found[:4]), int(found[6:]), 1)
    except ValueError:
        raise ValueError(f"must be {wanted}, got {readers.show(raw)}") from None
    return found


def _fit(raw: object, form: re.Pattern[str], wanted: str, most: int = 40) -> str:
    typed = raw.strip() if isinstance(raw, str) else ""
    if len(typed) > most or not form.fullmatch(typed):
        raise ValueError(f"must be {wanted}, got {readers.show(raw)}")
    return typed
