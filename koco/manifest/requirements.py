"""Reading of requirements files like pip does, with includes resolved.

Nodes get lines, not files, so includes, constraints files and paths would not exist
there. Pure: `text_of` returns a file's text by its name.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from koco.manifest import rules
from koco.manifest.problems import InvalidValueError

#: A comment to pip: from a `#` at the start of a line or after white space, to the line's end.
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")
_INCLUDE = re.compile(r"(?:-r\s*|--requirement[ =]\s*)(?P<name>.+)")
_CONSTRAINT = re.compile(r"(?:-c\s*|--constraint[ =]\s*).+")
_EDITABLE = re.compile(r"(?:-e\b|--editable\b).*")
#: The start of the options of a single requirement, for example `--hash`.
_OPTIONS = re.compile(r"\s--?[a-z]")
_PATH = re.compile(r"^(?:\.{0,2}/|\.{1,2}$|file:)|^[^:@]*\.(?:whl|zip|tar\.gz)$", re.IGNORECASE)

#: How deep includes may be nested.
_DEEPEST = 50


@dataclass(frozen=True)
class Requirements:
    """Lines for pip, and problems of the files, as `file:line:1: message (hint: …)`."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(name: str, text_of: Callable[[str], str | None]) -> Requirements:
    """Return the requirements of a file and of the files that it includes.

    `text_of` returns None if a file does not exist.
    """
    found = Requirements()
    _read(posixpath.normpath(name), text_of, found, trail=(), seen=set())
    return found


def _read(
    name: str,
    text_of: Callable[[str], str | None],
    found: Requirements,
    *,
    trail: tuple[str, ...],
    seen: set[str],
) -> None:
    seen.add(name)
    for number, line in _lines(text_of(name) or ""):
        try:
            if include := _INCLUDE.fullmatch(line):
                inner = _resolve_include(name, include["name"].strip(), text_of, (*trail, name))
                if inner not in seen:
                    _read(inner, text_of, found, trail=(*trail, name), seen=seen)
            else:
                found.lines.append(_check_line(line))
        except InvalidValueError as exc:
            hint = f" (hint: {exc.hint})" if exc.hint else ""
            found.problems.append(f"{name}:{number}:1: {exc}{hint}")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each logical line with its number: joined at backslashes, without comments."""
    joined, first = "", 0
    # The empty line ends a last line with a backslash.
    for number, line in enumerate([*text.removeprefix("\ufeff").splitlines(), ""], 1):
        is_comment = line.lstrip().startswith("#")
        first = first or number
        # A comment ends a joined line, even if the comment itself ends in a backslash.
        joined += f" {line}" if is_comment else line.removesuffix("\\")
        if is_comment or not line.endswith("\\"):
            if content := _COMMENT.sub("", joined).strip():
                yield first, " ".join(content.split())
            joined, first = "", 0


def _resolve_include(
    name: str, inner: str, text_of: Callable[[str], str | None], trail: tuple[str, ...]
) -> str:
    if "://" in inner:
        raise InvalidValueError(
            f"{inner} is not a file of the bundle", "ship it, or copy its lines here"
        )
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), inner))
    if path in trail:
        raise InvalidValueError(f"{path} includes itself")
    if len(trail) > _DEEPEST:
        raise InvalidValueError(f"{path} is included through more than {_DEEPEST} files")
    if path.startswith(("../", "/")) or text_of(path) is None:
        raise InvalidValueError(f"{path} is not among the files to ship")
    return path


def _check_line(line: str) -> str:
    """Return the line; raise `InvalidValueError` if nodes cannot use it."""
    if _CONSTRAINT.fullmatch(line):
        raise InvalidValueError(
            "nodes have no constraints file", "write the versions into the requirements"
        )
    if _EDITABLE.fullmatch(line):
        raise InvalidValueError(
            "nodes install nothing in editable form",
            "modules in the service's folder are shipped and can be imported directly",
        )
    if line.startswith("-"):
        return line
    wanted = _OPTIONS.split(line, maxsplit=1)[0]
    if _PATH.search(wanted):
        raise InvalidValueError(
            f"{wanted} is a path, which nodes do not have", "name a package or a URL"
        )
    # pip on the nodes resolves URLs and variables of the nodes' environment.
    if "://" not in wanted and "${" not in wanted:
        rules.check_requirement(wanted)
    return line
