"""Buttons, and the field for files."""

import json
from typing import Any

from koco.forms import json_value_count
from koco.kodosumi.forms.base import FormElement, escape, format_attributes

#: The most values in the text of a file field: decoding more would stop the control plane, which
#: shows forms that were refused.
_MOST_VALUES = 50_000


class ActionElement(FormElement):
    """The base of buttons without a value."""

    _properties = ("text",)

    def __init__(self, text: str, error: list[str] | None = None) -> None:
        super().__init__(text=text, error=error)


class Submit(ActionElement):
    """The button that sends the form."""

    type = "submit"

    def render(self) -> str:
        """Return the button as HTML."""
        return f'<button type="submit">{self.text}</button>'


class Cancel(ActionElement):
    """The button that leaves the form."""

    type = "cancel"

    def render(self) -> str:
        """Return a link to the page before."""
        return f'<a class="button" href="javascript:history.back()">{self.text or ""}</a>'


class Action(FormElement):
    """A button that sends the form with `value` under `name`."""

    type = "action"
    _properties = ("name", "value", "text")

    def __init__(
        self,
        name: str | None = None,
        value: Any = None,
        required: bool = False,
        text: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, None, value, text=text, error=error)

    def render(self) -> str:
        """Return the button as HTML."""
        attributes = format_attributes({"name": self.name, "value": self.value})
        return f"<button {attributes}>{self.text or ''}</button>"


class InputFiles(FormElement):
    """Files to upload. The value is the set of their names."""

    type = "file"
    _properties = ("name", "label", "value", "required", "multiple", "directory")
    _attributes = (("multiple", "multiple"), ("directory", "webkitdirectory"))

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        multiple: bool = False,
        directory: bool = False,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, error=error)
        self.multiple = multiple
        self.directory = directory

    def render(self) -> str:
        """Return the field as HTML, with the names by which Kodosumi's scripts find its parts."""
        name = escape(self.name)
        attributes: dict[str, Any] = {"type": self.type, "name": f"_dialog-{self.name}"}
        attributes |= {"id": f"_dialog-{self.name}", "required": bool(self.required)}
        lines = [
            f'<legend class="inputs-label">{self.label or ""}</legend>',
            f'<span id="_files-{name}"><div id="_items-{name}"></div>',
            '<div class="space"></div></span>',
            f'<button id="_button-{name}" class="fileInput medium circle">',
            f"<i>attach_file</i><input {format_attributes(attributes | self._shown())}></button>",
            f'<input type="hidden" name="{name}" id="_list-{name}" value="{escape(self.value)}">',
        ]
        if count := len(read_upload(self.value) or ()):
            lines.append(f'<span class="primary">{count} files have been uploaded</span>')
        return "\n".join([*lines, *self._render_error(), '<div class="space"></div>'])


def read_upload(value: Any) -> set[str] | None:
    """Return the file names in the text that Kodosumi's panel sends; None for other values.

    The text is `{"items": {id: {"filename": …}, …}, "batchId": …}` as JSON.
    """
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return None
    if json_value_count.has_more(value.encode(errors="replace"), _MOST_VALUES):
        return None
    try:
        items = json.loads(value)["items"]
        return {str(each["filename"]) for each in items.values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
