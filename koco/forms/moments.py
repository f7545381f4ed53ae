"""Dates and times, local and without zones, as HTML has them."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from koco.forms import readers
from koco.forms.elements import by, plain
from koco.forms.fields import Field, crossed, limits
from koco.forms.problems import Problem


@dataclass(frozen=True)
class _Moment(Field):
    """What `InputDate`, `InputTime` and `InputDateTime` share."""

    #: Declared here for its place among the arguments; each has its own type.
    value: Any = field(default=None, metadata=by(readers.anything))
    required: bool = field(default=False, metadata=by(readers.boolean))
    placeholder: str | None = field(default=None, metadata=by(readers.text))

    #: The names of the two properties that limit the value.
    _range: ClassVar[tuple[str, str]] = ("", "")
    _format: ClassVar[dict[str, str]] = {}
    #: Whether a lower limit above the upper one means a range across midnight.
    _may_cross: ClassVar[bool] = False

    @property
    def _low_high(self) -> tuple[Any, Any]:
        return getattr(self, self._range[0]), getattr(self, self._range[1])

    def check(self, value: Any) -> Iterator[str]:
        """Yield where range or step are not met."""
        yield from self._out_of_range(value)
        step = getattr(self, "step", None)
        base = self._low_high[0] or self.default
        if step is not None and _micros(value, base) % round(step * 1_000_000):
            start = f" from {plain(base)}" if base else ""
            yield f"must be in steps of {step} seconds{start}, got {plain(value)}"

    def _out_of_range(self, value: Any) -> Iterator[str]:
        low, high = self._low_high
        if not (self._may_cross and low and high and low > high):
            yield from limits(value, low, high, ("be {} or later", "be {} or earlier"))
        elif high < value < low:
            yield f"must be from {plain(low)} to {plain(high)}, got {plain(value)}"

    def _faults(self) -> Iterator[Problem]:
        if not self._may_cross:
            yield from crossed(*self._low_high, self._range)
        yield from super()._faults()

    def _shape(self) -> dict[str, Any]:
        low, high = self._low_high
        said = [f"from {plain(low)}"] if low else []
        said += [f"to {plain(high)}"] if high else []
        about = {"description": " ".join(said)} if said else {}
        return {"type": "string", **self._format, **about}


def _micros(value: dt.time | dt.datetime, base: dt.time | dt.datetime | None) -> int:
    """Return how many microseconds lie between the two; the base is midnight or 1970."""
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
    value: dt.date | str | None = field(default=None, metadata=by(readers.anything))
    min_date: dt.date | str | None = field(default=None, metadata=by(readers.date))
    max_date: dt.date | str | None = field(default=None, metadata=by(readers.date))

    _range: ClassVar[tuple[str, str]] = ("min_date", "max_date")
    _format: ClassVar[dict[str, str]] = {"format": "date"}

    def read(self, raw: object) -> dt.date:
        """Return the date."""
        return readers.date(raw)


@dataclass(frozen=True)
class InputTime(_Moment):
    """A time of day; where `min_time` is after `max_time`, the range crosses midnight."""

    type: ClassVar[str] = "time"
    value: dt.time | str | None = field(default=None, metadata=by(readers.anything))
    min_time: dt.time | str | None = field(default=None, metadata=by(readers.time))
    max_time: dt.time | str | None = field(default=None, metadata=by(readers.time))
    step: int | float | None = field(default=None, metadata=by(readers.seconds))

    _range: ClassVar[tuple[str, str]] = ("min_time", "max_time")
    #: JSON Schema's own `time` asks for a zone, which this has not.
    _format: ClassVar[dict[str, str]] = {"pattern": f"^{readers.CLOCK}$"}
    _may_cross: ClassVar[bool] = True

    def read(self, raw: object) -> dt.time:
        """Return the time."""
        return readers.time(raw)


@dataclass(frozen=True)
class InputDateTime(_Moment):
    """A day and time, local: without a zone."""

    type: ClassVar[str] = "datetime-local"
    value: dt.datetime | str | None = field(default=None, metadata=by(readers.anything))
    min_datetime: dt.datetime | str | None = field(default=None, metadata=by(readers.datetime))
    max_datetime: dt.datetime | str | None = field(default=None, metadata=by(readers.datetime))
    step: int | float | None = field(default=None, metadata=by(readers.seconds))

    _range: ClassVar[tuple[str, str]] = ("min_datetime", "max_datetime")
    _format: ClassVar[dict[str, str]] = {"pattern": f"^{readers.DAY}[T ]{readers.CLOCK}$"}

    def read(self, raw: object) -> dt.datetime:
        """Return the date and time."""
        return readers.datetime(raw)
