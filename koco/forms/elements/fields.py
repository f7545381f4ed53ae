"""The base of elements that carry a value, and the fields of any text."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from koco.forms import patterns, readers
from koco.forms.elements.base import Element, read_with, to_json
from koco.forms.problems import Problem


@dataclass(frozen=True)
class Field(Element):
    """An element with a value. `name` is the key of that value in the inputs."""

    name: str = field(metadata=read_with(readers.name))
    label: str | None = field(default=None, metadata=read_with(readers.text))

    @property
    def default(self) -> Any:
        """The value if none is given."""
        return getattr(self, "value", None)

    @property
    def is_required(self) -> bool:
        """Whether it must have a value."""
        return bool(getattr(self, "required", False))

    def read(self, raw: object) -> Any:
        """Return the typed value; raise `ValueError` if it has another type."""
        raise NotImplementedError

    def check(self, value: Any) -> Iterator[str]:
        """Yield a message for each problem of a typed value."""
        yield from ()

    def clean(self, raw: object) -> tuple[Any, list[str]]:
        """Return the typed value and the messages about it."""
        try:
            value = self._read_optional(raw)
        except ValueError as exc:
            return None, [str(exc)]
        if self._is_blank(value):
            return value, ["is required"] if self.is_required else []
        return value, list(self.check(value))

    def _read_optional(self, raw: object) -> Any:
        """Return the typed value, or None for blank text, which browsers send for no value."""
        blank = raw is None or (isinstance(raw, str) and not raw.strip())
        return None if blank else self.read(raw)

    def _is_blank(self, value: Any) -> bool:
        return value is None

    def _find_problems(self) -> Iterator[Problem]:
        """Check the default like any other value, and store it typed."""
        if self.default is None:
            return
        try:
            value = self._read_optional(self.default)
        except ValueError as exc:
            self._set("value", None)
            yield Problem(None, "value", str(exc))
            return
        blank = self._is_blank(value)
        # Store it before the check, because steps count from the default.
        self._set("value", None if blank and self.is_required else value)
        if not blank:
            yield from (Problem(None, "value", each) for each in self.check(value))

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        schema: dict[str, Any] = {"title": self.label} if self.label else {}
        schema |= self._value_schema()
        if not self.is_required and isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
        if self.default is not None:
            schema["default"] = to_json(self.default)
        return schema

    def _value_schema(self) -> dict[str, Any]:
        return {}


def check_limits(
    value: Any, low: Any, high: Any, rules: tuple[str, str], *, exclusive: bool = False
) -> Iterator[str]:
    """Yield a message if a value is outside its limits.

    `rules` are the texts for the lower and the upper limit, such as `be at least {}`. With
    `exclusive`, the message names the exclusive limit if the given one stands for it.
    """
    got = f"got {to_json(value)}"
    if low is not None and value < low:
        outer = exclusive_limit(low, -1) if exclusive else None
        rule = rules[0].format(to_json(low)) if outer is None else f"be greater than {outer}"
        yield f"must {rule}, {got}"
    if high is not None and value > high:
        outer = exclusive_limit(high, 1) if exclusive else None
        rule = rules[1].format(to_json(high)) if outer is None else f"be less than {outer}"
        yield f"must {rule}, {got}"


def exclusive_limit(limit: Any, side: int) -> int | float | None:
    """Return the exclusive limit that a number stands for: 1 for 0.9999999999999999.

    A form only has inclusive limits, so it stores the float next to an exclusive one. Such a
    float has many more digits than its neighbour. Returns None for any other limit.
    """
    if not isinstance(limit, float):
        return None
    outer = math.nextafter(limit, side * math.inf)
    if outer and len(repr(outer)) > len(repr(limit)) - 4:
        return None
    return int(outer) if outer.is_integer() and abs(outer) < 2**53 else outer


def check_order(low: Any, high: Any, names: tuple[str, str]) -> Iterator[Problem]:
    """Yield a problem if the lower limit is above the upper one."""
    if low is not None and high is not None and low > high:
        yield Problem(None, names[0], f"must not be above {names[1]}, which is {to_json(high)}")


def check_pattern(pattern: str, text: str) -> Iterator[str]:
    """Yield a message if a text does not match. It omits the text, which may be a secret."""
    if not patterns.matches(pattern, text):
        yield f"must match the pattern {pattern}"


def without_none(**facets: Any) -> dict[str, Any]:
    """Return the facets of a JSON Schema that are set."""
    return {name: to_json(value) for name, value in facets.items() if value is not None}


@dataclass(frozen=True)
class _Text(Field):
    """Any text. Empty text is a value, unless the field is required."""

    value: str | None = field(default=None, metadata=read_with(readers.text))
    required: bool = field(default=False, metadata=read_with(readers.boolean))
    placeholder: str | None = field(default=None, metadata=read_with(readers.text))
    min_length: int | None = field(default=None, kw_only=True, metadata=read_with(readers.count))
    max_length: int | None = field(default=None, kw_only=True, metadata=read_with(readers.count))

    def _read_optional(self, raw: object) -> Any:
        # Blanks are text, too, and an empty text differs from none.
        return None if raw is None else self.read(raw)

    def _is_blank(self, value: Any) -> bool:
        return value is None or value == ""

    def read(self, raw: object) -> str:
        """Return the text."""
        return readers.text(raw)

    def check(self, value: str) -> Iterator[str]:
        """Yield messages about length and pattern. They omit the text, which may be a secret."""
        rules = ("have at least {} characters", "have at most {} characters")
        yield from check_limits(len(value), self.min_length, self.max_length, rules)
        if pattern := getattr(self, "pattern", None):
            yield from check_pattern(pattern, value)

    def _find_problems(self) -> Iterator[Problem]:
        yield from check_order(self.min_length, self.max_length, ("min_length", "max_length"))
        yield from super()._find_problems()

    def _value_schema(self) -> dict[str, Any]:
        lengths = without_none(minLength=self.min_length, maxLength=self.max_length)
        schema = {"type": "string"} | lengths
        pattern = getattr(self, "pattern", None)
        # A form matches the whole text, JSON Schema searches in it, and it has no flags.
        if pattern is not None and not pattern.startswith("(?"):
            schema["pattern"] = f"^(?:{pattern})$"
        return schema


@dataclass(frozen=True)
class InputText(_Text):
    """A line of text."""

    type: ClassVar[str] = "text"
    size: int | None = field(default=None, metadata=read_with(readers.count))
    pattern: str | None = field(default=None, metadata=read_with(readers.pattern))


@dataclass(frozen=True)
class InputPassword(InputText):
    """A line of text that is not shown. No message repeats it."""

    type: ClassVar[str] = "password"
    show_toggle: bool = field(default=False, kw_only=True, metadata=read_with(readers.boolean))

    def _value_schema(self) -> dict[str, Any]:
        return super()._value_schema() | {"format": "password", "writeOnly": True}


@dataclass(frozen=True)
class InputArea(_Text):
    """Text of several lines."""

    type: ClassVar[str] = "textarea"
    rows: int | None = field(default=None, metadata=read_with(readers.count))
    cols: int | None = field(default=None, metadata=read_with(readers.count))
