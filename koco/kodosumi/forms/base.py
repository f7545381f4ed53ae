"""The base classes of Kodosumi's form elements, and the HTML that most fields share."""

import html
import re
from collections.abc import Mapping
from typing import Any, ClassVar

#: A property of an element, and the HTML attribute that shows it.
Attribute = tuple[str, str]

_BREAK = re.compile(r"&lt;br ?/?&gt;")


class Element:
    """A part of a form. Subclasses set `type`."""

    type: str | None = None

    #: The properties that `to_dict` returns after `type`, in order.
    _properties: ClassVar[tuple[str, ...]] = ()

    def __init__(self, text: str | None = None) -> None:
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        """Return the element as JSON: its `type` and its properties, also those that are None."""
        if self.type is None:
            raise NotImplementedError
        return {"type": self.type} | {name: getattr(self, name) for name in self._properties}

    def render(self) -> str:
        """Return the element as HTML. Values and errors are escaped, labels are not."""
        raise NotImplementedError

    def parse_value(self, value: Any) -> Any:
        """Return the value that a handler gets for a sent one."""
        raise NotImplementedError


class FormElement(Element):
    """An element with a value. Without a name, its value is not collected."""

    #: The properties that are shown as HTML attributes, after type, name, required and value.
    _attributes: ClassVar[tuple[Attribute, ...]] = ()

    def __init__(
        self,
        name: str | None = None,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        text: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(text=text)
        self.name = name
        self.label = label
        self.value = value
        self.required = required
        self.error = error

    def parse_value(self, value: Any) -> Any:
        """Return the value as it was sent."""
        return value

    def _shown(self) -> dict[str, Any]:
        return {attribute: getattr(self, name) for name, attribute in self._attributes}

    def _wrap(self, inner: str, css: str = "field border fill", error: str = "error") -> str:
        """Return a field's HTML below its label, followed by its errors."""
        lines = [f'<legend class="inputs-label">{self.label or ""}</legend>']
        lines += [f'<div class="{css}">', inner, *self._render_error(error), "</div>"]
        return "\n".join(lines)

    def _render_error(self, css: str = "error") -> list[str]:
        if not self.error:
            return []
        return [f'<span class="{css}">{escape_message(" ".join(map(str, self.error)))}</span>']


class Input(FormElement):
    """An element that is an `<input>` below its label."""

    def render(self) -> str:
        """Return the field as HTML."""
        found = {"type": self.type, "name": self.name, "required": bool(self.required)}
        found |= {"value": self.value, **self._shown()}
        return self._wrap(f"<input {format_attributes(found)}>")


def escape(value: object) -> str:
    """Return a value as text that is safe in HTML; empty for None."""
    return "" if value is None else html.escape(str(value))


def escape_message(message: str) -> str:
    """Return a message as text that is safe in HTML. Line breaks (`<br/>`) are kept.

    Services break lines in messages that repeat the values that somebody sent.
    """
    return _BREAK.sub("<br/>", escape(message))


def format_attributes(attributes: Mapping[str, Any]) -> str:
    """Return HTML attributes. True is an attribute without a value; None, False and "" are none."""
    words = []
    for name, value in attributes.items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False and value != "":
            words.append(f'{name}="{escape(value)}"')
    return " ".join(words)
