"""Fields of dates and times. Handlers get the text that was sent, as from Kodosumi."""

from typing import Any

from koco.kodosumi.forms.base import Input
from koco.kodosumi.forms.text import InputText

_FIELD = ("name", "label", "value", "required")
_TYPED = (*_FIELD, "placeholder")
_PLACEHOLDER = ("placeholder", "placeholder")


class InputDate(InputText):
    """A day, such as `2026-01-31`."""

    type = "date"
    _properties = (*_TYPED, "min_date", "max_date")
    _attributes = (_PLACEHOLDER, ("min_date", "min"), ("max_date", "max"))

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        placeholder: str | None = None,
        min_date: str | None = None,
        max_date: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, placeholder, error=error)
        self.min_date = min_date
        self.max_date = max_date


class InputTime(InputText):
    """A time of day, such as `09:30`."""

    type = "time"
    _properties = (*_TYPED, "min_time", "max_time", "step")
    _attributes = (_PLACEHOLDER, ("min_time", "min"), ("max_time", "max"), ("step", "step"))

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        placeholder: str | None = None,
        min_time: str | None = None,
        max_time: str | None = None,
        step: int | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, placeholder, error=error)
        self.min_time = min_time
        self.max_time = max_time
        self.step = step


class InputDateTime(InputText):
    """A day and time without a zone, such as `2026-01-31T09:30`."""

    type = "datetime-local"
    _properties = (*_TYPED, "min_datetime", "max_datetime", "step")
    _attributes = (_PLACEHOLDER, ("min_datetime", "min"), ("max_datetime", "max"), ("step", "step"))

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        placeholder: str | None = None,
        min_datetime: str | None = None,
        max_datetime: str | None = None,
        step: int | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, placeholder, error=error)
        self.min_datetime = min_datetime
        self.max_datetime = max_datetime
        self.step = step


class InputMonth(Input):
    """A month, such as `2026-01`."""

    type = "month"
    _properties = (*_FIELD, "min_month", "max_month")
    _attributes = (("min_month", "min"), ("max_month", "max"))

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        min_month: str | None = None,
        max_month: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, error=error)
        self.min_month = min_month
        self.max_month = max_month


class InputWeek(Input):
    """A week, such as `2026-W05`."""

    type = "week"
    _properties = (*_FIELD, "min_week", "max_week")
    _attributes = (("min_week", "min"), ("max_week", "max"))

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        min_week: str | None = None,
        max_week: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, error=error)
        self.min_week = min_week
        self.max_week = max_week
