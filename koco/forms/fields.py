"""The elements that carry a value, and what each demands of it: text and numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

from koco.forms import patterns, readers
from koco.forms.elements import Element, by, plain
from koco.forms.problems import Problem


@dataclass(frozen=True)
class Field(Element):
    """An element with a name, under which its value stands among the inputs."""

    name: str = field(metadata=by(readers.name))
    label: str | None = field(default=None, metadata=by(readers.text))

    @property
    def default(self) -> Any:
        """The value where none is given."""
        return getattr(self, "value", None)

    @property
    def is_required(self) -> bool:
        """Whether it must have a value."""
        return bool(getattr(self, "required", False))

    def read(self, raw: object) -> Any:
        """Return the typed value; raise `ValueError` where it is of another type."""
        raise NotImplementedError

    def check(self, value: Any) -> Iterator[str]:
        """Yield what is wrong with a typed value."""
        yield from ()

    def clean(self, raw: object) -> tuple[Any, list[str]]:
        """Return the typed value and the messages about it."""
        try:
            value = self._typed(raw)
        except ValueError as exc:
            return None, [str(exc)]
        if self._is_blank(value):
            return value, ["is required"] if self.is_required else []
        return value, list(self.check(value))

    def _typed(self, raw: object) -> Any:
        """Return the typed value; blank text is how terminals and browsers say nothing."""
        blank = raw is None or (isinstance(raw, str) and not raw.strip())
        return None if blank else self.read(raw)

    def _is_blank(self, value: Any) -> bool:
        return value is None

    def _faults(self) -> Iterator[Problem]:
        """Check the default as any value is checked, and keep it typed."""
        if self.default is None:
            return
        try:
            value = self._typed(self.default)
        except ValueError as exc:
            self._set("value", None)
            yield Problem(None, "value", str(exc))
            return
        blank = self._is_blank(value)
        # Typed before it is checked: steps count from the default.
        self._set("value", None if blank and self.is_required else value)
        if not blank:
            yield from (Problem(None, "value", each) for each in self.check(value))

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        schema: dict[str, Any] = {"title": self.label} if self.label else {}
        schema |= self._shape()
        if not self.is_required and isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
        if self.default is not None:
            schema["default"] = plain(self.default)
        return schema

    def _shape(self) -> dict[str, Any]:
        return {}


def limits(
    value: Any, low: Any, high: Any, words: tuple[str, str], *, exclusive: bool = False
) -> Iterator[str]:
    """Yield where a value is outside its limits; `words` say below and above, with `{}`.

    With `exclusive`, a limit that stands for an exclusive one is told as that.
    """
    got = f"got {plain(value)}"
    if low is not None and value < low:
        outer = beyond(low, -1) if exclusive else None
        told = words[0].format(plain(low)) if outer is None else f"be greater than {outer}"
        yield f"must {told}, {got}"
    if high is not None and value > high:
        outer = beyond(high, 1) if exclusive else None
        told = words[1].format(plain(high)) if outer is None else f"be less than {outer}"
        yield f"must {told}, {got}"


def beyond(limit: Any, side: int) -> int | float | None:
    """Return the exclusive limit that a number stands for: 1 for 0.9999999999999999.

    A form has inclusive limits only, so an exclusive one is the float next to it. That is
    longer to write by far. None is a limit that means itself.
    """
    if not isinstance(limit, float):
        return None
    outer = math.nextafter(limit, side * math.inf)
    if outer and len(repr(outer)) > len(repr(limit)) - 4:
        return None
    return int(outer) if outer.is_integer() and abs(outer) < 2**53 else outer


def crossed(low: Any, high: Any, names: tuple[str, str]) -> Iterator[Problem]:
    """Yield a problem where the lower limit is above the upper one."""
    if low is not None and high is not None and low > high:
        yield Problem(None, names[0], f"must not be above {names[1]}, which is {plain(high)}")


def _mismatch(pattern: str, text: str) -> Iterator[str]:
    """Yield where a text does not match; never the text, which may be a secret."""
    if not patterns.matches(pattern, text):
        yield f"must match the pattern {pattern}"


def _set_only(**facets: Any) -> dict[str, Any]:
    return {name: plain(value) for name, value in facets.items() if value is not None}


@dataclass(frozen=True)
class _Text(Field):
    """Any text; empty text is a value unless one is required."""

    value: str | None = field(default=None, metadata=by(readers.text))
    required: bool = field(default=False, metadata=by(readers.boolean))
    placeholder: str | None = field(default=None, metadata=by(readers.text))
    min_length: int | None = field(default=None, kw_only=True, metadata=by(readers.count))
    max_length: int | None = field(default=None, kw_only=True, metadata=by(readers.count))

    def _typed(self, raw: object) -> Any:
        # Blanks are text too, and an empty text is not the same as none.
        return None if raw is None else self.read(raw)

    def _is_blank(self, value: Any) -> bool:
        return value is None or value == ""

    def read(self, raw: object) -> str:
        """Return the text."""
        return readers.text(raw)

    def check(self, value: str) -> Iterator[str]:
        """Yield where length or pattern are not met; never the text, which may be a secret."""
        words = ("have at least {} characters", "have at most {} characters")
        yield from limits(len(value), self.min_length, self.max_length, words)
        if pattern := getattr(self, "pattern", None):
            yield from _mismatch(pattern, value)

    def _faults(self) -> Iterator[Problem]:
        yield from crossed(self.min_length, self.max_length, ("min_length", "max_length"))
        yield from super()._faults()

    def _shape(self) -> dict[str, Any]:
        shape = {"type": "string"} | _set_only(minLength=self.min_length, maxLength=self.max_length)
        pattern = getattr(self, "pattern", None)
        # JSON Schema searches where a form matches the whole; and it knows no flags.
        if pattern is not None and not pattern.startswith("(?"):
            shape["pattern"] = f"^(?:{pattern})$"
        return shape


@dataclass(frozen=True)
class InputText(_Text):
    """A line of text."""

    type: ClassVar[str] = "text"
    size: int | None = field(default=None, metadata=by(readers.count))
    pattern: str | None = field(default=None, metadata=by(readers.pattern))


@dataclass(frozen=True)
class InputPassword(InputText):
    """A line of text that is not shown; a message never repeats it."""

    type: ClassVar[str] = "password"
    show_toggle: bool = field(default=False, kw_only=True, metadata=by(readers.boolean))

    def _shape(self) -> dict[str, Any]:
        return super()._shape() | {"format": "password", "writeOnly": True}


@dataclass(frozen=True)
class InputArea(_Text):
    """Text of several lines."""

    type: ClassVar[str] = "textarea"
    rows: int | None = field(default=None, metadata=by(readers.count))
    cols: int | None = field(default=None, metadata=by(readers.count))


@dataclass(frozen=True)
class InputNumber(Field):
    """A number: an int where it is written as one and `step` does not say otherwise."""

    type: ClassVar[str] = "number"
    value: int | float | str | None = field(default=None, metadata=by(readers.anything))
    required: bool = field(default=False, metadata=by(readers.boolean))
    placeholder: str | None = field(default=None, metadata=by(readers.text))
    size: int | None = field(default=None, metadata=by(readers.count))
    pattern: str | None = field(default=None, metadata=by(readers.pattern))
    min_value: int | float | None = field(default=None, metadata=by(readers.number))
    max_value: int | float | None = field(default=None, metadata=by(readers.number))
    step: int | float | str | None = field(default=None, metadata=by(readers.step_or_any))

    def read(self, raw: object) -> int | float:
        """Return the number, an int for a whole `step` and a float for `any` or a part."""
        value = readers.number(raw)
        if self.step is None:
            return value
        if self.step == "any" or Fraction(self.step).denominator != 1:
            return float(value)
        return int(value) if value == int(value) else value

    def check(self, value: int | float) -> Iterator[str]:
        """Yield where range, step or pattern are not met."""
        bounds = (self.min_value, self.max_value)
        yield from limits(value, *bounds, ("be at least {}", "be at most {}"), exclusive=True)
        if isinstance(self.step, int | float):
            yield from _off_step(value, self.step, self._step_base)
        if self.pattern is not None:
            yield from (f"{each}, got {value}" for each in _mismatch(self.pattern, str(value)))

    @property
    def _step_base(self) -> Any:
        # As in HTML: steps count from the minimum, else from the default, else from 0.
        bases = (self.min_value, self.value, 0)
        return next(base for base in bases if isinstance(base, int | float))

    def _faults(self) -> Iterator[Problem]:
        yield from crossed(self.min_value, self.max_value, ("min_value", "max_value"))
        yield from super()._faults()

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        stepped = isinstance(self.step, int | float) and Fraction(self.step).denominator == 1
        return stepped and _whole(self._step_base)

    def _shape(self) -> dict[str, Any]:
        facets = _set_only(minimum=self.min_value, maximum=self.max_value)
        if isinstance(self.step, int | float) and self.step != 1 and not self._step_base:
            facets["multipleOf"] = self.step
        return {"type": "integer" if self.is_whole else "number"} | facets


def _whole(value: int | float) -> bool:
    return value == int(value)


def _exact(value: int | float) -> Fraction:
    # Through text: 0.1 is meant to be a tenth, not the nearest binary fraction.
    return Fraction(str(value))


def _off_step(value: int | float, step: int | float, base: int | float) -> Iterator[str]:
    if (_exact(value) - _exact(base)) % _exact(step) == 0:
        return
    if step == 1 and _whole(base):
        yield f"must be a whole number, got {value}"
    else:
        start = f"{base} plus " if base else ""
        yield f"must be {start}a multiple of {step}, got {value}"
