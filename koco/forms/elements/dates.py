"""Dates, times, months and weeks, local and without zones, as in HTML."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from koco.forms import readers, text_formats
from koco.forms.elements.base import read_with, to_json
from koco.forms.elements.fields import Field, check_limits, check_order
from koco.forms.problems import Problem


@dataclass(frozen=True)
class _Period(Field):
    """The base of all fields in this module: a value with a lower and an upper limit."""

    #: Declared here because of its position among the arguments. Each subclass narrows the type.
    value: Any = field(default=None, metadata=read_with(readers.anything))
    required: bool = field(default=False, metadata=read_with(readers.boolean))

    #: The names of the two properties that limit the value.
    _range: ClassVar[tuple[str, str]] = ("", "")
    _format: ClassVar[dict[str, str]] = {}
    #: Whether a lower limit above the upper one means a range across midnight.
    _can_cross_midnight: ClassVar[bool] = False

    @property
    def _low_high(self) -> tuple[Any, Any]:
        return getattr(self, self._range[0]), getattr(self, self._range[1])

    def check(self, value: Any) -> Iterator[str]:
        """Yield messages about range and step."""
        low, high = self._low_high
        if not (self._can_cross_midnight and low and high and low > high):
            yield from check_limits(value, low, high, ("be {} or later", "be {} or earlier"))
        elif high < value < low:
            yield f"must be from {to_json(low)} to {to_json(high)}, got {to_json(value)}"
        step = getattr(self, "step", None)
        base = low or self.default
        if step is not None and _microseconds_between(value, base) % round(step * 1_000_000):
            start = f" from {to_json(base)}" if base else ""
            yield f"must be in steps of {step} seconds{start}, got {to_json(value)}"

    def _find_problems(self) -> Iterator[Problem]:
        if not self._can_cross_midnight:
            yield from check_order(*self._low_high, self._range)
        yield from super()._find_problems()

    def _value_schema(self) -> dict[str, Any]:
        low, high = self._low_high
        limits = [f"from {to_json(low)}"] if low else []
        limits += [f"to {to_json(high)}"] if high else []
        description = {"description": " ".join(limits)} if limits else {}
        return {"type": "string", **self._format, **description}


@dataclass(frozen=True)
class _Moment(_Period):
    """The base of `InputDate`, `InputTime` and `InputDateTime`, which can be typed."""

    placeholder: str | None = field(default=None, metadata=read_with(readers.text))


def _microseconds_between(value: dt.time | dt.datetime, base: dt.time | dt.datetime | None) -> int:
    """Return the microseconds from the base to the value. The default base is midnight or 1970."""
    start = dt.datetime(1970, 1, 1)
    ends = [
        dt.datetime.combine(start, each) if isinstance(each, dt.time) else each
        for each in (value, base or start)
    ]
    return (ends[0] - ends[1]) // dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class InputDate(_Moment):
    """A day."""

    type: ClassVar[str] = "date"
    value: dt.date | str | None = field(default=None, metadata=read_with(readers.anything))
    min_date: dt.date | str | None = field(default=None, metadata=read_with(readers.date))
    max_date: dt.date | str | None = field(default=None, metadata=read_with(readers.date))

    _range: ClassVar[tuple[str, str]] = ("min_date", "max_date")
    _format: ClassVar[dict[str, str]] = {"format": "date"}

    def read(self, raw: object) -> dt.date:
        """Return the date."""
        return readers.date(raw)


@dataclass(frozen=True)
class InputTime(_Moment):
    """A time of day. If `min_time` is after `max_time`, the range crosses midnight."""

    type: ClassVar[str] = "time"
    value: dt.time | str | None = field(default=None, metadata=read_with(readers.anything))
    min_time: dt.time | str | None = field(default=None, metadata=read_with(readers.time))
    max_time: dt.time | str | None = field(default=None, metadata=read_with(readers.time))
    step: int | float | None = field(default=None, metadata=read_with(readers.seconds))

    _range: ClassVar[tuple[str, str]] = ("min_time", "max_time")
    #: Not JSON Schema's own `time`, because that needs a zone.
    _format: ClassVar[dict[str, str]] = {"pattern": f"^{readers.CLOCK}$"}
    _can_cross_midnight: ClassVar[bool] = True

    def read(self, raw: object) -> dt.time:
        """Return the time."""
        return readers.time(raw)


@dataclass(frozen=True)
class InputDateTime(_Moment):
    """A day and time, local: without a zone."""

    type: ClassVar[str] = "datetime-local"
    value: dt.datetime | str | None = field(default=None, metadata=read_with(readers.anything))
    min_datetime: dt.datetime | str | None = field(
        default=None, metadata=read_with(readers.datetime)
    )
    max_datetime: dt.datetime | str | None = field(
        default=None, metadata=read_with(readers.datetime)
    )
    step: int | float | None = field(default=None, metadata=read_with(readers.seconds))

    _range: ClassVar[tuple[str, str]] = ("min_datetime", "max_datetime")
    _format: ClassVar[dict[str, str]] = {"pattern": f"^{readers.DAY}[T ]{readers.CLOCK}$"}

    def read(self, raw: object) -> dt.datetime:
        """Return the date and time."""
        return readers.datetime(raw)


@dataclass(frozen=True)
class InputMonth(_Period):
    """A month, as text: `2026-01`."""

    type: ClassVar[str] = "month"
    value: str | None = field(default=None, metadata=read_with(readers.anything))
    min_month: str | None = field(default=None, metadata=read_with(text_formats.month))
    max_month: str | None = field(default=None, metadata=read_with(text_formats.month))

    _range: ClassVar[tuple[str, str]] = ("min_month", "max_month")
    _format: ClassVar[dict[str, str]] = {"pattern": f"^{text_formats.MONTH}$"}

    def read(self, raw: object) -> str:
        """Return the month."""
        return text_formats.month(raw)


@dataclass(frozen=True)
class InputWeek(_Period):
    """A week of ISO 8601, as text: `2026-W05`."""

    type: ClassVar[str] = "week"
    value: str | None = field(default=None, metadata=read_with(readers.anything))
    min_week: str | None = field(default=None, metadata=read_with(text_formats.week))
    max_week: str | None = field(default=None, metadata=read_with(text_formats.week))

    _range: ClassVar[tuple[str, str]] = ("min_week", "max_week")
    _format: ClassVar[dict[str, str]] = {"pattern": f"^{text_formats.WEEK}$"}

    def read(self, raw: object) -> str:
        """Return the week."""
        return text_formats.week(raw)
