"""A requirements file as pip reads it, made into one without includes.

Nodes get lines, not files: what an include, a constraint or a path names does not
stand beside them there. Pure: `text_of` gives a file's text by its name.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from koco.manifest import rules
from koco.manifest.problems import Wrong

#: What pip takes as a comment: to the end of the line, after white space or at its beginning.
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")
_INCLUDE = re.compile(r"(?:-r\s*|--requirement[ =]\s*)(?P<name>.+)")
_CONSTRAINT = re.compile(r"(?:-c\s*|--constraint[ =]\s*).+")
_EDITABLE = re.compile(r"(?:-e\b|--editable\b).*")
#: Where the options of a requirement of its own begin, such as `--hash`.
_OPTIONS = re.compile(r"\s--?[a-z]")
_PATH = re.compile(r"^(?:\.{0,2}/|\.{1,2}$|file:)|^[^:@]*\.(?:whl|zip|tar\.gz)$", re.IGNORECASE)

#: How deep includes may be nested.
_DEEPEST = 50


@dataclass(frozen=True)
class Requirements:
    """Lines for pip, and what is wrong with the files, as `file:line:1: what (hint: …)`."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(name: str, text_of: Callable[[str], str | None]) -> Requirements:
    """Return what a file asks for, and what those that it includes do; None is no such file."""
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
                inner = _included(name, include["name"].strip(), text_of, (*trail, name))
                if inner not in seen:
                    _read(inner, text_of, found, trail=(*trail, name), seen=seen)
            else:
                found.lines.append(_checked(line))
        except Wrong as exc:
            hint = f" (hint: {exc.hint})" if exc.hint else ""
            found.problems.append(f"{name}:{number}:1: {exc}{hint}")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each logical line with its number: joined at backslashes, without comments."""
    joined, first = "", 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        is_comment = line.lstrip().startswith("#")
        first = first or number
        # A comment ends what is joined, and is not joined to what follows, whatever it ends in.
        joined += f" {line}" if is_comment else line.removesuffix("\\")
        if is_comment or not line.endswith("\\"):
            if said := _COMMENT.sub("", joined).strip():
                yield first, " ".join(said.split())
            joined, first = "", 0
    if said := _COMMENT.sub("", joined).strip():
        yield first, " ".join(said.split())


def _included(
    name: str, inner: str, text_of: Callable[[str], str | None], trail: tuple[str, ...]
) -> str:
    if "://" in inner:
        raise Wrong(f"{inner} is no file of the bundle", "ship it, or copy its lines here")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), inner))
    if path in trail:
        raise Wrong(f"{path} includes itself")
    if len(trail) > _DEEPEST:
        raise Wrong(f"{path} is included by files that are included, {_DEEPEST} times over")
    if path.startswith(("../", "/")) or text_of(path) is None:
        raise Wrong(f"{path} is not among the files to ship")
    return path


def _checked(line: str) -> str:
    """Return a line that nodes can do something with."""
    if _CONSTRAINT.fullmatch(line):
        raise Wrong("nodes have no constraints file", "write the versions into the requirements")
    if _EDITABLE.fullmatch(line):
        raise Wrong(
            "nodes install nothing in editable form",
            "modules in the service's folder are shipped and can be imported as they are",
        )
    if line.startswith("-"):
        return line
    wanted = _OPTIONS.split(line, maxsplit=1)[0]
    if _PATH.search(wanted):
        raise Wrong(f"{wanted} is a path, which nodes do not have", "name a package or a URL")
    # Of URLs and of variables from the nodes' own environment pip makes sense there.
    if "://" not in wanted and "${" not in wanted:
        rules.requirement(wanted)
    return line
