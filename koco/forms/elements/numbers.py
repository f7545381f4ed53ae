"""The fields of numbers: typed, or chosen with a slider."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

from koco.forms import readers
from koco.forms.elements.base import read_with
from koco.forms.elements.fields import Field, check_limits, check_order, check_pattern, without_none
from koco.forms.problems import Problem


@dataclass(frozen=True)
class Number(Field):
    """A number with limits. Without a `step`, it is an int if it is written as one."""

    value: int | float | str | None = field(default=None, metadata=read_with(readers.anything))
    required: bool = field(default=False, metadata=read_with(readers.boolean))

    @property
    def limits(self) -> tuple[int | float | None, int | float | None]:
        """The least and the greatest number."""
        raise NotImplementedError

    @property
    def grid(self) -> int | float | str | None:
        """The step: a number above 0, `any`, or None if any number is allowed."""
        raise NotImplementedError

    def read(self, raw: object) -> int | float:
        """Return the number: an int for a whole step, a float for `any` or a fraction."""
        value = readers.number(raw)
        if self.grid is None:
            return value
        if self.grid == "any" or Fraction(self.grid).denominator != 1:
            return float(value)
        return int(value) if value == int(value) else value

    def check(self, value: int | float) -> Iterator[str]:
        """Yield messages about range, step and pattern."""
        rules = ("be at least {}", "be at most {}")
        yield from check_limits(value, *self.limits, rules, exclusive=True)
        if isinstance(self.grid, int | float):
            yield from _check_step(value, self.grid, self._step_base)
        if (pattern := getattr(self, "pattern", None)) is not None:
            yield from (f"{each}, got {value}" for each in check_pattern(pattern, str(value)))

    @property
    def _step_base(self) -> Any:
        # As in HTML: steps count from the minimum, else from the default, else from 0.
        bases = (self.limits[0], self.value, 0)
        return next(base for base in bases if isinstance(base, int | float))

    def _find_problems(self) -> Iterator[Problem]:
        yield from check_order(*self.limits, ("min_value", "max_value"))
        yield from super()._find_problems()

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        stepped = isinstance(self.grid, int | float) and Fraction(self.grid).denominator == 1
        return stepped and _is_whole(self._step_base)

    def _value_schema(self) -> dict[str, Any]:
        low, high = self.limits
        facets = without_none(minimum=low, maximum=high)
        if isinstance(self.grid, int | float) and self.grid != 1 and not self._step_base:
            facets["multipleOf"] = self.grid
        return {"type": "integer" if self.is_whole else "number"} | facets


@dataclass(frozen=True)
class InputNumber(Number):
    """A number. Without a `step`, it is an int if it is written as one."""

    type: ClassVar[str] = "number"
    placeholder: str | None = field(default=None, metadata=read_with(readers.text))
    size: int | None = field(default=None, metadata=read_with(readers.count))
    pattern: str | None = field(default=None, metadata=read_with(readers.pattern))
    min_value: int | float | None = field(default=None, metadata=read_with(readers.number))
    max_value: int | float | None = field(default=None, metadata=read_with(readers.number))
    step: int | float | str | None = field(default=None, metadata=read_with(readers.step_or_any))

    @property
    def limits(self) -> tuple[int | float | None, int | float | None]:
        """The least and the greatest number."""
        return self.min_value, self.max_value

    @property
    def grid(self) -> int | float | str | None:
        """The step: a number above 0, `any`, or None if any number is allowed."""
        return self.step


#: The limits of a slider that has none of its own, as in HTML.
_LEAST, _GREATEST = 0, 100


@dataclass(frozen=True)
class InputRange(Number):
    """A number on a slider, from 0 to 100 if no limits are given."""

    type: ClassVar[str] = "range"
    min_value: int | float | None = field(default=_LEAST, metadata=read_with(readers.number))
    max_value: int | float | None = field(default=_GREATEST, metadata=read_with(readers.number))
    step: int | float | str | None = field(default=None, metadata=read_with(readers.step_or_any))

    def __post_init__(self) -> None:
        """Set the limits that are None, because a slider always ends somewhere."""
        for name, limit in (("min_value", _LEAST), ("max_value", _GREATEST)):
            if getattr(self, name) is None:
                self._set(name, limit)
        super().__post_init__()

    @property
    def limits(self) -> tuple[int | float | None, int | float | None]:
        """The least and the greatest number."""
        return self.min_value, self.max_value

    @property
    def grid(self) -> int | float | str | None:
        """The step: a number above 0, `any`, or None if any number is allowed."""
        return self.step


def _is_whole(value: int | float) -> bool:
    return value == int(value)


def _to_fraction(value: int | float) -> Fraction:
    # Through text, because 0.1 means a tenth and not the nearest binary fraction.
    return Fraction(str(value))


def _check_step(value: int | float, step: int | float, base: int | float) -> Iterator[str]:
    if (_to_fraction(value) - _to_fraction(base)) % _to_fraction(step) == 0:
        return
    if step == 1 and _is_whole(base):
        yield f"must be a whole number, got {value}"
    else:
        start = f"{base} plus " if base else ""
        yield f"must be {start}a multiple of {step}, got {value}"
