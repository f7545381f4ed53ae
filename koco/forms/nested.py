"""Limits of what is nested in a JSON value, as far as a JSON Schema says them.

Only what no reading of the value could pass is refused: text that is a number is held against
a number's limits, and what the schema does not say is the flow's own to check. Nobody waits for
it: a pattern that might take long is left to the flow, too.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from koco.forms import patterns, readers

#: How deep schemas and values are followed.
_DEEPEST = 100
#: What compiling the patterns of one schema may cost (as `patterns.cost` says).
_COST = 30_000
#: How many faults are told.
_MOST = 20

_Fault = tuple[str, str]


def faults(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a value: `where: what`, at most twenty."""
    found = []
    for where, what in _Check(schema.get("$defs") or {}).of(value, schema, "", 0):
        found.append(f"{where}: {what}" if where else what)
        if len(found) == _MOST:
            break
    return found


class _Check:
    def __init__(self, defs: Any) -> None:
        self._defs = defs if isinstance(defs, Mapping) else {}
        # What patterns may still take: others wait meanwhile.
        self._steps, self._cost = patterns.QUICK_STEPS, _COST
        self._known: set[str] = set()

    def of(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Fault]:
        """Yield what is wrong, each with its path."""
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return
        if isinstance(name := schema.get("$ref"), str):
            yield from self.of(value, self._defs.get(name.rpartition("/")[2]), where, depth + 1)
            return
        if isinstance(options := schema.get("anyOf"), list):
            yield from self._any(value, options, where, depth)
            return
        if isinstance(known := schema.get("enum"), list):
            if str(_bare(value)) not in {str(_bare(each)) for each in known}:
                shown = ", ".join(str(_bare(each)) for each in known[:_MOST])
                yield where, f"must be one of {shown}, got {readers.shown(value)}"
            return
        look = _LOOKS.get(str(schema.get("type")))
        if look is not None:
            yield from look(self, value, schema, where, depth)

    def _any(self, value: Any, options: list[Any], where: str, depth: int) -> Iterator[_Fault]:
        found: list[list[_Fault]] = []
        for option in options:
            wrong = list(self.of(value, option, where, depth + 1))
            if not wrong:
                return
            found.append(wrong)
        # The option that comes nearest has most to say: the one that goes deepest.
        if found:
            yield from max(found, key=lambda wrong: max(len(at) for at, _ in wrong))

    def _null(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Fault]:
        if value is not None:
            yield where, f"must be nothing, got {readers.kind(value)}"

    def _object(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Fault]:
        if not isinstance(value, dict):
            yield where, f"must be an object, got {readers.kind(value)}"
            return
        inner = schema.get("properties") or {}
        for name in schema.get("required") or ():
            if name not in value:
                yield _at(where, name), "is required"
        yield from _size(value, schema, where, ("minProperties", "maxProperties"), "entries")
        others = schema.get("additionalProperties")
        for name, each in value.items():
            if name in inner:
                yield from self.of(each, inner[name], _at(where, name), depth + 1)
            elif others is False:
                yield _at(where, name), "is no field here"
            else:
                yield from self.of(each, others, _at(where, name), depth + 1)

    def _array(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Fault]:
        if not isinstance(value, list):
            yield where, f"must be a list, got {readers.kind(value)}"
            return
        yield from _size(value, schema, where, ("minItems", "maxItems"), "elements")
        first = schema.get("prefixItems") or []
        for index, each in enumerate(value):
            inner = first[index] if index < len(first) else schema.get("items")
            yield from self.of(each, inner, _at(where, index), depth + 1)

    def _string(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Fault]:
        if value is None or isinstance(value, dict | list):
            yield where, f"must be text, got {readers.kind(value)}"
        if not isinstance(value, str):
            return  # a number may be taken for its text
        yield from _size(value, schema, where, ("minLength", "maxLength"), "characters")
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and not self._may_match(pattern, value):
            yield where, f"must match the pattern {pattern}"

    def _may_match(self, pattern: str, text: str) -> bool:
        # Constraints search, `patterns` matches the whole.
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
            return True  # of another engine, which the flow has

    def _number(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Fault]:
        if isinstance(value, bool):
            return
        try:
            number = readers.number(value)
        except ValueError as exc:
            yield where, str(exc)
            return
        if schema.get("type") == "integer" and number != int(number):
            yield where, f"must be a whole number, got {readers.shown(value)}"
        for key, words, is_met in _BOUNDS:
            bound = schema.get(key)
            if isinstance(bound, int | float) and not is_met(number, bound):
                yield where, f"must be {words} {bound}, got {readers.shown(value)}"

    def _boolean(self, value: Any, schema: Any, where: str, depth: int) -> Iterator[_Fault]:
        if value is None or isinstance(value, dict | list):
            yield where, f"must be true or false, got {readers.kind(value)}"


_LOOKS: dict[str, Callable[[_Check, Any, Any, str, int], Iterator[_Fault]]] = {
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
    ("multipleOf", "a multiple of", lambda number, bound: not bound or _is_multiple(number, bound)),
)


def _is_multiple(number: Any, bound: Any) -> bool:
    parts = number / bound
    return bool(abs(parts - round(parts)) < 1e-9)


def _size(
    value: Any, schema: Any, where: str, keys: tuple[str, str], what: str
) -> Iterator[_Fault]:
    low, high = (schema.get(key) for key in keys)
    if isinstance(low, int) and len(value) < low:
        yield where, f"must have at least {low} {what}, got {len(value)}"
    if isinstance(high, int) and len(value) > high:
        yield where, f"must have at most {high} {what}, got {len(value)}"


def _bare(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _at(where: str, part: str | int) -> str:
    if isinstance(part, int):
        return f"{where}[{part}]"
    return f"{where}.{part[:100]}" if where else part[:100]
