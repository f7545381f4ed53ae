"""Checks of values nested in JSON against a JSON Schema.

A value is only refused if no reading of it could match. For example, text that is a number is
checked against a number's limits. The flow checks everything that the schema does not express,
and the patterns that could take long to match, because other requests would have to wait.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from koco.forms import patterns, readers

#: How deep schemas and values are checked.
_DEEPEST = 100
#: The most that compiling the patterns of one schema may cost (see `patterns.cost`).
_COST = 30_000
#: How many problems are reported.
_MOST = 20

#: Examples of JSON for those who type it.
_LIST, _OBJECT = '["a", "b"]', '{"name": "value"}'

#: The path of a nested value, and a message about it.
_Problem = tuple[str, str]


def find_problems(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """Return up to 20 problems of a value, as `path: message`."""
    found = []
    for path, message in _Check(schema.get("$defs") or {}).check(value, schema, "", 0):
        found.append(f"{path}: {message}" if path else message)
        if len(found) == _MOST:
            break
    return found


class _Check:
    def __init__(self, defs: Any) -> None:
        self._defs = defs if isinstance(defs, Mapping) else {}
        # The steps and the cost that are left for patterns: other requests wait meanwhile.
        self._steps, self._cost = patterns.QUICK_STEPS, _COST
        self._known: set[str] = set()

    def check(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Problem]:
        """Yield each problem with its path."""
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return
        if isinstance(name := schema.get("$ref"), str):
            yield from self.check(value, self._defs.get(name.rpartition("/")[2]), where, depth + 1)
            return
        if isinstance(options := schema.get("anyOf"), list):
            yield from self._any_of(value, options, where, depth)
            return
        if isinstance(known := schema.get("enum"), list):
            if str(_enum_text(value)) not in {str(_enum_text(each)) for each in known}:
                listed = ", ".join(str(_enum_text(each)) for each in known[:_MOST])
                yield where, f"must be one of {listed}, got {readers.show(value)}"
            return
        check_type = _CHECKS.get(str(schema.get("type")))
        if check_type is not None:
            yield from check_type(self, value, schema, where, depth)

    def _any_of(self, value: Any, options: list[Any], where: str, depth: int) -> Iterator[_Problem]:
        found: list[list[_Problem]] = []
        for option in options:
            problems = list(self.check(value, option, where, depth + 1))
            if not problems:
                return
            found.append(problems)
        # Report the option that matches best: the one whose problems are deepest.
        if found:
            yield from max(found, key=lambda problems: max(len(path) for path, _ in problems))

    def _null(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Problem]:
        if value is not None:
            yield where, f"must be nothing, got {readers.kind(value)}"

    def _object(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Problem]:
        if not isinstance(value, dict):
            yield where, f"must be an object{_as_text(value, where, _OBJECT)}"
            return
        inner = schema.get("properties") or {}
        for name in schema.get("required") or ():
            if name not in value:
                yield _join_path(where, name), "is required"
        yield from _check_size(value, schema, where, ("minProperties", "maxProperties"), "entries")
        others = schema.get("additionalProperties")
        for name, each in value.items():
            if name in inner:
                yield from self.check(each, inner[name], _join_path(where, name), depth + 1)
            elif others is False:
                yield _join_path(where, name), "is not a field here"
            else:
                yield from self.check(each, others, _join_path(where, name), depth + 1)

    def _array(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Problem]:
        if not isinstance(value, list):
            yield where, f"must be a list{_as_text(value, where, _LIST)}"
            return
        yield from _check_size(value, schema, where, ("minItems", "maxItems"), "elements")
        first = schema.get("prefixItems") or []
        for index, each in enumerate(value):
            inner = first[index] if index < len(first) else schema.get("items")
            yield from self.check(each, inner, _join_path(where, index), depth + 1)

    def _string(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Problem]:
        if value is None or isinstance(value, dict | list):
            yield where, f"must be text, got {readers.kind(value)}"
        if not isinstance(value, str):
            return  # the flow may read a number as its text
        yield from _check_size(value, schema, where, ("minLength", "maxLength"), "characters")
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and not self._may_match(pattern, value):
            yield where, f"must match the pattern {pattern}"

    def _may_match(self, pattern: str, text: str) -> bool:
        # JSON Schema searches in the text, `patterns` matches the whole.
        whole = f"(?s:.*)(?:{pattern})(?s:.*)"
        if whole not in self._known and self._cost > 0:
            self._known.add(whole)
            self._cost -= patterns.cost(whole)
        if whole not in self._known:
            return True
        self._steps -= patterns.steps(whole, text)
        try:
            return self._steps < 0 or patterns.matches(whole, text)
        except ValueError:
            return True  # in the syntax of another engine: the flow checks it

    def _number(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Problem]:
        if isinstance(value, bool):
            return
        try:
            number = readers.number(value)
        except ValueError as exc:
            yield where, str(exc)
            return
        if schema.get("type") == "integer" and number != int(number):
            yield where, f"must be a whole number, got {readers.show(value)}"
        for key, words, is_met in _BOUNDS:
            bound = schema.get(key)
            if isinstance(bound, int | float) and not is_met(number, bound):
                yield where, f"must be {words} {bound}, got {readers.show(value)}"

    def _boolean(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Problem]:
        if value is None or isinstance(value, dict | list):
            yield where, f"must be true or false, got {readers.kind(value)}"


_CHECKS: dict[str, Callable[[_Check, Any, Any, str, int], Iterator[_Problem]]] = {
    "null": _Check._null,
    "object": _Check._object,
    "array": _Check._array,
    "string": _Check._string,
    "integer": _Check._number,
    "number": _Check._number,
    "boolean": _Check._boolean,
}

_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("minimum", "at least", lambda number, bound: number >= bound),
    ("maximum", "at most", lambda number, bound: number <= bound),
    ("exclusiveMinimum", "greater than", lambda number, bound: number > bound),
    ("exclusiveMaximum", "less than", lambda number, bound: number < bound),
    (
        "multipleOf",
        "a multiple of",
        lambda number, bound: not bound or abs(number / bound - round(number / bound)) < 1e-9,
    ),
)


def _as_text(value: Any, where: str, example: str) -> str:
    """Return what was given instead of a list or an object; typed text is shown an example."""
    is_typed = isinstance(value, str) and not where
    return (
        f" in JSON, such as {example}, got {readers.show(value)}"
        if is_typed
        else (f", got {readers.kind(value)}")
    )


def _check_size(
    value: Any, schema: Any, where: str, keys: tuple[str, str], parts: str
) -> Iterator[_Problem]:
    low, high = (schema.get(key) for key in keys)
    if isinstance(low, int) and len(value) < low:
        yield where, f"must have at least {low} {parts}, got {len(value)}"
    if isinstance(high, int) and len(value) > high:
        yield where, f"must have at most {high} {parts}, got {len(value)}"


def _enum_text(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _join_path(where: str, part: str | int) -> str:
    if isinstance(part, int):
        return f"{where}[{part}]"
    return f"{where}.{part[:100]}" if where else part[:100]
