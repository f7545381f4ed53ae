"""Control planes' URLs: check them, and make them safe to show."""

import re
from urllib.parse import urlsplit

from koco.errors import UsageError

#: An example of a valid URL, for messages.
_EXAMPLE = "such as http://127.0.0.1:8400"


def check(url: str, where: str) -> str:
    """Return a control plane's URL without a trailing slash, its host in lower case.

    Raises:
        UsageError: it is not valid. The message names `where` as its source and shows no password.
    """
    url = url.strip()  # copied text, or text from a file, has white space around it
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not _is_plain(parts.hostname or ""):
            (parts.hostname or "").encode("idna").decode("idna")  # the form that is looked up
    except ValueError:
        usable = False
    is_clean = url.isprintable() and " " not in url
    if not usable or not is_clean or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"{where} is not the URL of a control plane: {redact(url)!r}", hint=_hint(url)
        )
    return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")


def _is_plain(name: str) -> bool:
    """Return whether a host's name needs no tables of Unicode, whose import takes a millisecond."""
    is_short = all(0 < len(label) < 64 for label in name.split("."))
    return name.isascii() and is_short and "xn--" not in name


def redact(url: str) -> str:
    """Return a URL that is safe to show: without user name, password and query."""
    scheme, has_scheme, rest = url.partition("://") if "://" in url else ("", "", url)
    # Split at the last @, and first, because a password may contain any of these characters.
    _, has_user, rest = rest.rpartition("@")
    place = re.split(r"[?#]", rest, maxsplit=1)
    rest = f"{place[0]}{'?…' if len(place) > 1 else ''}"
    return f"{scheme}{has_scheme}{'…@' if has_user else ''}{rest}"


def host(url: str) -> str:
    """Return the host of a checked URL; an IPv6 address without its brackets."""
    return urlsplit(url).hostname or ""


def is_loopback(name: str) -> bool:
    """Return whether a host is this machine, so that data sent to it never leaves it."""
    import ipaddress  # 5 ms, and few commands need it

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def is_clear(url: str) -> bool:
    """Return whether data sent to a URL can be read on its way."""
    return url.startswith("http://") and not is_loopback(host(url))


def _hint(url: str) -> str:
    if "@" in url:
        return "without a name and password: the key says who you are"
    if "?" in url or "#" in url:
        return "without the part that begins with ? or #"
    if url and "://" not in url and url.isprintable() and " " not in url:
        return f"with its scheme, as in https://{url}"
    return _EXAMPLE
