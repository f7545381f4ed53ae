"""Fields of text."""

from typing import Any, ClassVar

from koco.kodosumi.forms.base import Attribute, FormElement, Input, escape, format_attributes

_FIELD = ("name", "label", "value", "required")
_LINE = (*_FIELD, "placeholder", "size", "pattern")
_SHOWN = (("placeholder", "placeholder"), ("size", "size"), ("pattern", "pattern"))


class InputText(Input):
    """A line of text."""

    type = "text"
    _properties: ClassVar[tuple[str, ...]] = _LINE
    _attributes: ClassVar[tuple[Attribute, ...]] = _SHOWN

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        placeholder: str | None = None,
        size: int | None = None,
        pattern: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, error=error)
        self.placeholder = placeholder
        self.size = size
        self.pattern = pattern


class LimitedText(InputText):
    """A line of text with limits of its length. They are shown; nobody enforces them."""

    _properties = (*_LINE, "min_length", "max_length")
    _attributes = (*_SHOWN, ("min_length", "minlength"), ("max_length", "maxlength"))

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        placeholder: str | None = None,
        size: int | None = None,
        pattern: str | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, placeholder, size, pattern, error)
        self.min_length = min_length
        self.max_length = max_length


class InputPassword(LimitedText):
    """A line of text that is not shown."""

    type = "password"


class InputEmail(LimitedText):
    """An e-mail address."""

    type = "email"


class InputUrl(LimitedText):
    """A URL."""

    type = "url"


class InputTel(LimitedText):
    """A telephone number."""

    type = "tel"


class InputSearch(LimitedText):
    """A text to search for."""

    type = "search"


class InputArea(FormElement):
    """Text of several lines."""

    type = "textarea"
    _properties = (*_FIELD, "placeholder", "rows", "cols", "max_length")
    _attributes = (
        *(("placeholder", "placeholder"), ("rows", "rows"), ("cols", "cols")),
        ("max_length", "maxlength"),
    )

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        placeholder: str | None = None,
        rows: int | None = None,
        cols: int | None = None,
        max_length: int | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, error=error)
        self.placeholder = placeholder
        self.rows = rows
        self.cols = cols
        self.max_length = max_length

    def render(self) -> str:
        """Return the field as HTML."""
        attributes = {"name": self.name, "required": bool(self.required), **self._shown()}
        inner = f"<textarea {format_attributes(attributes)}>{escape(self.value)}</textarea>"
        return self._wrap(inner, "field extra textarea border fill")


class InputHidden(FormElement):
    """A value that is sent with the form and not shown."""

    type = "hidden"
    _properties = ("name", "value")

    def __init__(self, name: str, value: Any, error: list[str] | None = None) -> None:
        super().__init__(name, None, value, error=error)

    def render(self) -> str:
        """Return the hidden field as HTML."""
        return f'<input type="hidden" name="{escape(self.name)}" value="{escape(self.value)}">'
