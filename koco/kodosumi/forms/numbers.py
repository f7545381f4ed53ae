"""Fields of numbers, and of colours. Handlers get the text that was sent, as from Kodosumi."""

from typing import Any

from koco.kodosumi.forms.base import FormElement, Input, format_attributes
from koco.kodosumi.forms.text import InputText

_LIMITS = (("min_value", "min"), ("max_value", "max"), ("step", "step"))

#: The colour that browsers show without a value.
_BLACK = "#000000"


class InputNumber(InputText):
    """A number."""

    type = "number"
    _properties = (*InputText._properties, "min_value", "max_value", "step")
    _attributes = (*InputText._attributes, *_LIMITS)

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        placeholder: str | None = None,
        size: int | None = None,
        pattern: str | None = None,
        min_value: float | None = None,
        max_value: float | None = None,
        step: float | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, placeholder, size, pattern, error)
        self.min_value = min_value
        self.max_value = max_value
        self.step = step


class InputRange(Input):
    """A slider. Its value becomes a float if it is a number."""

    type = "range"
    _properties = ("name", "label", "value", "required", "min_value", "max_value", "step")
    _attributes = _LIMITS

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
        step: float | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, error=error)
        self.min_value = 0 if min_value is None else min_value
        self.max_value = 100 if max_value is None else max_value
        self.step = step

    def parse_value(self, value: Any) -> Any:
        """Return the value as a float, or as it is if it is not a number."""
        if value is None:
            return None
        try:
            return float(value)
        except (ValueError, TypeError, OverflowError):
            return value


class InputColor(FormElement):
    """A colour such as `#ff8800`."""

    type = "color"
    _properties = ("name", "label", "value", "required")

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, error=error)

    def render(self) -> str:
        """Return the field as HTML. Black is shown if there is no value."""
        found = {"type": self.type, "name": self.name, "required": bool(self.required)}
        return self._wrap(f"<input {format_attributes(found | {'value': self.value or _BLACK})}>")
