"""YAML as plain data, with the place of every key and value.

The YAML 1.2 core schema, as editors read it: `yes` and `2026-01-31` are text
and `12:30` is no number, where PyYAML's 1.1 makes them true, a date and 750.
Only plain values: no tags, no keys but text, none of them twice, and aliases
only as far as they stay small (a few lines can otherwise expand to gigabytes).
"""

import re
from collections.abc import Callable
from typing import Any

import yaml

from koco.errors import ManifestError
from koco.manifest.problems import KeyPath, Place, Problem

#: Characters in a file; more is no manifest.
MAX_CHARS = 1_000_000

#: Values in a document, those that aliases repeat included.
MAX_NODES = 20_000

#: Levels in a document: far more than a manifest has, far fewer than Python can go down.
MAX_DEPTH = 100

_TAG = "tag:yaml.org,2002:"


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema (its chapter 10.3)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, unless it is one too many, or too deep: each takes its time."""
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_NODES:
            raise _refused(self, f"more than {MAX_NODES} values")
        if self._depth > MAX_DEPTH:
            raise _refused(self, "nested too deeply")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _refused(loader: Loader, what: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=loader.peek_event().start_mark)  # type: ignore[no-untyped-call]


def _int(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


_SCALARS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "null": (r"~|null|Null|NULL|", "~nN\0", lambda text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text[0] in "tT"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _int),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        lambda text: float(re.sub(r"\.(?=[iInN])", "", text)),
    ),
}

# The order counts: an int is a float too.
for _name, (_regex, _first, _) in _SCALARS.items():
    Loader.add_implicit_resolver(
        _TAG + _name, re.compile(f"^(?:{_regex})$"), [c if c != "\0" else "" for c in _first]
    )


class Document:
    """A parsed file: its `data`, where each part of it stands, and its `problems`.

    Where a problem is, `data` has None; `error` keeps quiet about what follows from that.
    """

    def __init__(self, text: str, source: str) -> None:
        """Parse `text`; raise `ManifestError` if it is no YAML. `source` names the file."""
        self.source = source
        self.problems: list[Problem] = []
        self._spoilt: set[KeyPath] = set()
        self._keys: dict[KeyPath, Place] = {}
        self._values: dict[KeyPath, Place] = {}
        self._open: list[int] = []
        self._nodes = 0
        self.data = self._build(_compose(text, source), ())
        if self._nodes > MAX_NODES:
            raise self.error([])

    def error(self, problems: list[Problem]) -> ManifestError:
        """Return the document's problems and these as an error, in the order of the file."""
        ordered = [*self.problems, *(one for one in problems if one.path not in self._spoilt)]
        ordered.sort(key=self._place)
        lines = [
            f"{self.source}:{line}:{column}: {problem}"
            for problem in ordered
            for line, column in [self._place(problem)]
        ]
        return ManifestError(list(dict.fromkeys(lines)))

    def _place(self, problem: Problem) -> Place:
        if problem.place:
            return problem.place
        first, second = (self._keys, self._values) if problem.on_key else (self._values, self._keys)
        path = problem.path
        # A key that is missing has no place: its mapping's will do.
        while path and path not in first and path not in second:
            path = path[:-1]
        return first.get(path) or second.get(path) or (1, 1)

    def _build(self, node: yaml.Node, path: KeyPath) -> Any:
        self._values.setdefault(path, _place(node))
        self._nodes += 1
        if id(node) in self._open or self._nodes > MAX_NODES:
            self._refuse_size(path)
            return None
        self._open.append(id(node))
        try:
            return self._build_kind(node, path)
        finally:
            self._open.pop()

    def _refuse_size(self, path: KeyPath) -> None:
        self._spoilt.add(path)
        # Told once: with a bomb, every further value would say so again.
        if self._nodes <= MAX_NODES:
            self.problems.append(Problem(path, "an alias that contains itself"))
        elif self._nodes == MAX_NODES + 1:
            message = f"more than {MAX_NODES} values, counting those that aliases repeat"
            self.problems.append(Problem(path, message))

    def _build_kind(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return self._sequence(node, path)
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_TAG):
            return self._scalar(node, path)
        return self._refuse_tag(node, path)

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        built = []
        for index, item in enumerate(node.value):
            if self._nodes > MAX_NODES:
                break
            built.append(self._build(item, (*path, index)))
        return built

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if self._nodes > MAX_NODES:
                break
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag != _TAG + "str":
                self._refuse_key(key_node, path)
                continue
            here = (*path, key)
            if key in built:
                line = self._keys[here][0]
                # Its own place, not that of the first.
                self._at(key_node, path, f"key {key!r} is given twice", f"first on line {line}")
                continue
            self._keys[here] = _place(key_node)
            built[key] = self._build(value_node, here)
        return built

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        name = node.tag.removeprefix(_TAG)
        if name == "str":
            return node.value
        if name not in _SCALARS:
            return self._refuse_tag(node, path)
        regex, _, make = _SCALARS[name]
        try:
            # An explicit tag (`!!int x`) has not been matched yet.
            if re.fullmatch(regex, node.value):
                return make(node.value)
        except ValueError:  # more digits than Python converts
            pass
        self._spoilt.add(path)
        self._at(node, path, f"{node.value[:40]!r} is no {name}")
        return None

    def _refuse_tag(self, node: yaml.Node, path: KeyPath) -> None:
        self._spoilt.add(path)
        tag = node.tag.replace(_TAG, "!!")
        self._at(node, path, f"tag {tag} is not supported", "plain values only")

    def _refuse_key(self, node: yaml.Node, path: KeyPath) -> None:
        got = f"{node.value!r}" if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        hint = f'put it in quotes: "{node.value}"' if isinstance(node, yaml.ScalarNode) else None
        self._at(node, path, f"a key must be text, got {got}", hint)

    def _at(self, node: yaml.Node, path: KeyPath, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(path, message, hint, place=_place(node)))


def _place(node: yaml.Node) -> Place:
    mark = node.start_mark
    return mark.line + 1, mark.column + 1


def _compose(text: str, source: str) -> yaml.Node:
    if len(text) > MAX_CHARS:
        raise ManifestError([f"{source}:1:1: longer than {MAX_CHARS} characters"])
    try:
        # Safe: composing makes nodes, no objects, and `Loader` is a SafeLoader besides.
        node = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as exc:
        raise ManifestError([_syntax(exc, text, source)]) from exc
    except RecursionError:
        raise ManifestError([f"{source}:1:1: nested too deeply"]) from None
    if node is None:
        raise ManifestError([f"{source}:1:1: the file is empty"])
    return node


def _syntax(exc: yaml.YAMLError, text: str, source: str) -> str:
    if isinstance(exc, yaml.MarkedYAMLError):
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = ", ".join(part for part in (exc.context, exc.problem) if part)
        hint = " (hint: indent with spaces, not tabs)" if "'\\t'" in what else ""
        return f"{source}:{line}:{column}: {what}{hint}"
    # A reader's error: a character that YAML does not allow.
    at = getattr(exc, "position", 0)
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    code = getattr(exc, "character", 0)
    return f"{source}:{line}:{column}: the character U+{code:04X} is not allowed in YAML"
