"""Read `.env` files: `NAME=VALUE` lines for the variables of manifests.

A subset on which common tools agree: comments, `export`, quotes. Nothing is executed or expanded,
and no message has a value.
"""

import re
from pathlib import Path

from koco import file_reading
from koco.errors import ManifestError, NotFoundError

#: The largest file (bytes).
_MOST_BYTES = 1 << 20

_NAME = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(#.*)?')
_SINGLE = re.compile(r"'([^']*)'\s*(#.*)?")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file. A later line replaces an earlier one of the same name.

    Raises:
        NotFoundError: it cannot be read.
        ManifestError: lines are not `NAME=VALUE`; it has all of them, without their values.
    """
    try:
        with file_reading.opened(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        hint = "it has NAME=VALUE lines for the variables of manifests"
        raise NotFoundError(f"{path} cannot be read: {exc.strerror}", hint=hint) from exc
    if len(content) > _MOST_BYTES:
        raise ManifestError([f"{path}:1:1: longer than {_MOST_BYTES} bytes"])
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise ManifestError([f"{path}:1:1: this is not UTF-8"]) from exc
    found: dict[str, str] = {}
    problems = []
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        pair = _NAME.fullmatch(line)
        value = _value(pair[2]) if pair else None
        if pair is None or value is None:
            why = "a quote has no end" if pair else "this is not NAME=VALUE"
            problems.append(f"{path}:{number}:1: {why}")
        else:
            found[pair[1]] = value
    if problems:
        raise ManifestError(problems)
    return found


def _value(text: str) -> str | None:
    """Return a value without its quotes and comment, or None if a quote has no end."""
    if text.startswith('"'):
        quoted = _DOUBLE.fullmatch(text)
        escape = lambda found: _ESCAPES.get(found[1], found[1])  # noqa: E731
        return re.sub(r"\\(.)", escape, quoted[1]) if quoted else None
    if text.startswith("'"):
        quoted = _SINGLE.fullmatch(text)
        return quoted[1] if quoted else None
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].rstrip()
