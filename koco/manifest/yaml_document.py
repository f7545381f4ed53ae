"""YAML as plain data, with the place of every key and value.

Reads the YAML 1.2 core schema, like editors: `yes`, `2026-01-31` and `12:30` are
text. PyYAML itself reads YAML 1.1, which makes them true, a date and 750.
Only plain values: no tags, only text as keys, and no key twice. The size after
expanding aliases is limited, because a few lines can expand to gigabytes. Merge keys (`<<`) are of
YAML 1.1; only a reader of other programs' files asks for them.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml

from koco.errors import ManifestError
from koco.manifest.problems import KeyPath, Place, Problem

#: The longest file (characters).
MAX_CHARS = 1_000_000

#: The most values in a document, including those that aliases repeat.
MAX_NODES = 20_000

#: The most levels in a document: more than a manifest has, and fewer than Python's recursion limit.
MAX_DEPTH = 100

_TAG = "tag:yaml.org,2002:"


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema (its chapter 10.3)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; raise an error if there are too many, or if it is nested too deeply."""
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_NODES:
            raise _error_at_mark(self, f"more than {MAX_NODES} values")
        if self._depth > MAX_DEPTH:
            raise _error_at_mark(self, "nested too deeply")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _error_at_mark(loader: Loader, problem: str) -> yaml.MarkedYAMLError:
    mark = loader.peek_event().start_mark  # type: ignore[no-untyped-call]
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


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

# The order matters, because an int also matches the pattern of a float.
for _name, (_regex, _first, _) in _SCALARS.items():
    Loader.add_implicit_resolver(
        _TAG + _name, re.compile(f"^(?:{_regex})$"), [c if c != "\0" else "" for c in _first]
    )


class Document:
    """A parsed file: its `data`, the place of each part, and its `problems`.

    `data` has None in place of a faulty value, and `error` omits problems that follow from it.
    """

    def __init__(self, text: str, source: str, *, merges: bool = False) -> None:
        """Parse `text`; raise `ManifestError` if it is not YAML. `source` names the file.

        With `merges`, a mapping's key `<<` takes in the keys of other mappings.
        """
        self.source = source
        self._merges = merges
        self.problems: list[Problem] = []
        self._faulty: set[KeyPath] = set()
        self._keys: dict[KeyPath, Place] = {}
        self._values: dict[KeyPath, Place] = {}
        #: The ids of the nodes being built. A node that is met again contains itself.
        self._ancestors: list[int] = []
        self._nodes = 0
        self.data = self._build(_compose(text, source), ())
        if self._nodes > MAX_NODES:
            raise self.error([])

    def error(self, problems: list[Problem]) -> ManifestError:
        """Return an error with the document's problems and these, in the order of the file."""
        ordered = [*self.problems, *(one for one in problems if one.path not in self._faulty)]
        ordered.sort(key=self._place)
        lines = ["{}:{}:{}: {}".format(self.source, *self._place(one), one) for one in ordered]
        return ManifestError(list(dict.fromkeys(lines)))

    def _place(self, problem: Problem) -> Place:
        if problem.place:
            return problem.place
        first, second = (self._keys, self._values) if problem.on_key else (self._values, self._keys)
        path = problem.path
        # A missing key has no place, so use that of its mapping.
        while path and path not in first and path not in second:
            path = path[:-1]
        return first.get(path) or second.get(path) or (1, 1)

    def _build(self, node: yaml.Node, path: KeyPath) -> Any:
        self._values.setdefault(path, _place(node))
        self._nodes += 1
        if id(node) in self._ancestors or self._nodes > MAX_NODES:
            self._refuse_size(path)
            return None
        self._ancestors.append(id(node))
        try:
            return self._build_kind(node, path)
        finally:
            self._ancestors.pop()

    def _refuse_size(self, path: KeyPath) -> None:
        self._faulty.add(path)
        # Report it once: an alias bomb would repeat it for every further value.
        if self._nodes <= MAX_NODES:
            self.problems.append(Problem(path, "an alias that contains itself"))
        elif self._nodes == MAX_NODES + 1:
            message = f"more than {MAX_NODES} values, counting those that aliases repeat"
            self.problems.append(Problem(path, message))

    def _build_kind(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [
                self._build(item, (*path, index))
                for index, item in enumerate(node.value)
                if self._nodes <= MAX_NODES
            ]
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_TAG):
            return self._scalar(node, path)
        return self._refuse_tag(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        built: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if self._nodes > MAX_NODES:
                break
            if self._merges and _is_merge(key_node):
                merged.append(value_node)
                continue
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag != _TAG + "str":
                self._refuse_key(key_node, path)
                continue
            here = (*path, key)
            if key in built:
                line = self._keys[here][0]
                # The place of the second key. Its path has the place of the first.
                self._add_problem(
                    key_node, path, f"key {key!r} is given twice", f"first on line {line}"
                )
                continue
            self._keys.setdefault(here, _place(key_node))
            built[key] = self._build(value_node, here)
        for each in merged:
            self._merge(each, path, built)
        return built

    def _merge(self, node: yaml.Node, path: KeyPath, built: dict[str, Any]) -> None:
        """Add the keys of a mapping, or of a list of them, that a mapping does not have yet."""
        self._nodes += 1  # a merge counts, because lists of merges can be as long as alias bombs
        if id(node) in self._ancestors or self._nodes > MAX_NODES:
            self._refuse_size(path)
            return
        self._ancestors.append(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                for each in node.value:
                    self._merge(each, path, built)
            elif isinstance(node, yaml.MappingNode):
                for key, value in self._mapping(node, path).items():
                    built.setdefault(key, value)
            else:
                self._add_problem(node, path, "`<<` takes a mapping, or a list of mappings")
        finally:
            self._ancestors.pop()

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        name = node.tag.removeprefix(_TAG)
        if name == "str":
            return node.value
        if name not in _SCALARS:
            return self._refuse_tag(node, path)
        regex, _, make = _SCALARS[name]
        try:
            # With an explicit tag (`!!int x`), the text may not match.
            if re.fullmatch(regex, node.value):
                return make(node.value)
        except ValueError:  # more digits than Python converts
            pass
        self._faulty.add(path)
        self._add_problem(node, path, f"{node.value[:40]!r} is not a valid {name}")
        return None

    def _refuse_tag(self, node: yaml.Node, path: KeyPath) -> None:
        self._faulty.add(path)
        tag = node.tag.replace(_TAG, "!!")
        self._add_problem(node, path, f"tag {tag} is not supported", "plain values only")

    def _refuse_key(self, node: yaml.Node, path: KeyPath) -> None:
        got = f"{node.value!r}" if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        hint = f'put it in quotes: "{node.value}"' if isinstance(node, yaml.ScalarNode) else None
        self._add_problem(node, path, f"a key must be text, got {got}", hint)

    def _add_problem(
        self, node: yaml.Node, path: KeyPath, message: str, hint: str | None = None
    ) -> None:
        self.problems.append(Problem(path, message, hint, place=_place(node)))


def _is_merge(node: yaml.Node) -> bool:
    """Return whether a key is a merge key. In quotes, `<<` is text."""
    return isinstance(node, yaml.ScalarNode) and node.value == "<<" and node.style is None


def _place(node: yaml.Node) -> Place:
    mark = node.start_mark
    return mark.line + 1, mark.column + 1


def _compose(text: str, source: str) -> yaml.Node:
    if len(text) > MAX_CHARS:
        raise ManifestError([f"{source}:1:1: longer than {MAX_CHARS} characters"])
    try:
        # Safe, because composing only makes nodes, and `Loader` is a SafeLoader.
        node = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as exc:
        raise ManifestError([_syntax_problem(exc, text, source)]) from exc
    except RecursionError:
        raise ManifestError([f"{source}:1:1: nested too deeply"]) from None
    if node is None:
        raise ManifestError([f"{source}:1:1: the file is empty"])
    return node


def _syntax_problem(exc: yaml.YAMLError, text: str, source: str) -> str:
    if isinstance(exc, yaml.MarkedYAMLError):
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = ", ".join(part for part in (exc.context, exc.problem) if part)
        hint = " (hint: indent with spaces, not tabs)" if "'\\t'" in message else ""
        return f"{source}:{line}:{column}: {message}{hint}"
    # A ReaderError: YAML does not allow the character.
    at = getattr(exc, "position", 0)
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    code = getattr(exc, "character", 0)
    return f"{source}:{line}:{column}: the character U+{code:04X} is not allowed in YAML"
