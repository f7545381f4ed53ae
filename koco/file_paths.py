"""Normalize the paths of an execution's files: `in/report.pdf`, `out/a/b.csv`.

A path is text in a database row and a URL, never a place on the server's disk. It is still strict,
because clients make local files of it. Anything that some system might read as a way out of a
folder is refused here, and only here.
"""

import unicodedata
from urllib.parse import unquote

from koco.errors import PathError

#: Files from users, and files from flows.
ROOTS = ("in", "out")

#: The longest name on Linux, and well below its longest path (bytes).
NAME_BYTES, PATH_BYTES = 255, 1024

_HINT = "a path begins with in/ or out/, such as in/report.pdf"

#: Control characters, lone surrogates, and characters that break lines or change text direction.
_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def path(text: str) -> str:
    """Return a file's path in its stored form: NFC, so that a name has one spelling.

    Raises:
        PathError: it is not valid; the message gives the reason.
    """
    found = place(text)
    if found in ROOTS or text.endswith("/"):
        raise _refused(text, "names a folder, not a file")
    return found


def place(text: str) -> str:
    """Return the path of a file or folder, which may be `in` or `out` and end with one `/`.

    Raises:
        PathError: it is not valid; the message gives the reason.
    """
    if not isinstance(text, str):
        raise PathError(f"a path is text, not {type(text).__name__}", hint=_HINT)
    found = unicodedata.normalize("NFC", text.removesuffix("/"))
    root, *names = found.split("/")
    # Reported first because it is the most common mistake.
    if root not in ROOTS:
        raise _refused(text, "is neither in in/ nor in out/")
    for name in names:
        if fault := _fault(name):
            raise _refused(text, fault)
    if len(found.encode()) > PATH_BYTES:
        raise _refused(text, f"has more than {PATH_BYTES} bytes")
    return found


def is_within(found: str, folder: str) -> bool:
    """Return whether a path equals a folder or is below it."""
    return found == folder or found.startswith(f"{folder}/")


def _fault(name: str) -> str | None:
    """Return the problem with one name of a path, or None."""
    if not name:
        return "has an empty name in it"
    if any(unicodedata.category(each) in _CATEGORIES or each in _TURNING for each in name):
        return "has a control character in it"
    if len(name.encode()) > NAME_BYTES:
        return f"has a name of more than {NAME_BYTES} bytes"
    # The name as other systems may read it: percent-decoded, even twice, and wide letters made
    # plain.
    read = unicodedata.normalize("NFKC", _decoded(name))
    if any(each in "/\\" or unicodedata.category(each) in _CATEGORIES for each in read):
        return "has a name in it that could be read as a path"
    if not read.strip(". "):
        return "has a name of nothing but dots or spaces"
    return None


def _decoded(name: str) -> str:
    while (once := unquote(name, errors="surrogateescape")) != name:
        name = once
    return name


def _refused(text: str, why: str) -> PathError:
    return PathError(f"{text[:200]!r} {why}", hint=_HINT)
