"""The fields of text with a format: addresses, telephone numbers, colours. And hidden ones."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from koco.forms import readers, text_formats
from koco.forms.elements.base import read_with
from koco.forms.elements.fields import Field, InputText


class InputSearch(InputText):
    """A text to search for."""

    type: ClassVar[str] = "search"


class _Formatted(InputText):
    """A line of text in a format. Blank text is no value."""

    _format: ClassVar[dict[str, str]] = {}

    def _read_optional(self, raw: object) -> Any:
        return Field._read_optional(self, raw)

    def _is_blank(self, value: Any) -> bool:
        return value is None

    def _value_schema(self) -> dict[str, Any]:
        return super()._value_schema() | self._format


class InputEmail(_Formatted):
    """An e-mail address."""

    type: ClassVar[str] = "email"
    _format: ClassVar[dict[str, str]] = {"format": "email"}

    def read(self, raw: object) -> str:
        """Return the address."""
        return text_formats.email(raw)


class InputUrl(_Formatted):
    """A URL with a host, such as `https://example.com/page`."""

    type: ClassVar[str] = "url"
    _format: ClassVar[dict[str, str]] = {"format": "uri"}

    def read(self, raw: object) -> str:
        """Return the URL."""
        return text_formats.url(raw)


class InputTel(_Formatted):
    """A telephone number, as people write it."""

    type: ClassVar[str] = "tel"

    def read(self, raw: object) -> str:
        """Return the number."""
        return text_formats.tel(raw)


@dataclass(frozen=True)
class InputColor(Field):
    """A colour: `#rrggbb` with hexadecimal digits."""

    type: ClassVar[str] = "color"
    value: str | None = field(default=None, metadata=read_with(readers.anything))
    required: bool = field(default=False, metadata=read_with(readers.boolean))

    def read(self, raw: object) -> str:
        """Return the colour with lower-case digits."""
        return text_formats.color(raw)

    def _value_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{text_formats.COLOR}$"}


@dataclass(frozen=True, init=False)
class InputHidden(Field):
    """Text that is sent with the form and not shown. A client can change it: trust it as little."""

    type: ClassVar[str] = "hidden"
    value: str = field(kw_only=True, metadata=read_with(readers.text))

    def __init__(self, name: str, value: str, label: str | None = None) -> None:
        for key, given in (("name", name), ("label", label), ("value", value)):
            self._set(key, given)
        self.__post_init__()

    def read(self, raw: object) -> str:
        """Return the text."""
        return readers.text(raw)

    def _read_optional(self, raw: object) -> Any:
        return None if raw is None else self.read(raw)

    def _value_schema(self) -> dict[str, Any]:
        return {"type": "string"}
