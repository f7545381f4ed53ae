"""Kodosumi's form: its elements, as data and HTML, and the values that a handler gets."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from koco.errors import GLOBAL_FIELD
from koco.kodosumi.forms import native
from koco.kodosumi.forms.base import Element
from koco.kodosumi.forms.buttons import Action, Cancel, InputFiles, Submit, read_upload
from koco.kodosumi.forms.choices import Checkbox, InputOption, InputRadio, Select
from koco.kodosumi.forms.content import HR, HTML, Break, DisplayInfo, Errors, Markdown
from koco.kodosumi.forms.dates import InputDate, InputDateTime, InputMonth, InputTime, InputWeek
from koco.kodosumi.forms.numbers import InputColor, InputNumber, InputRange
from koco.kodosumi.forms.text import (
    InputArea,
    InputEmail,
    InputHidden,
    InputPassword,
    InputSearch,
    InputTel,
    InputText,
    InputUrl,
)

_CLASSES: tuple[type[Element], ...] = (
    *(HTML, Markdown, Break, HR, Errors, DisplayInfo),
    *(InputText, InputPassword, InputArea, InputEmail, InputUrl, InputTel, InputSearch),
    *(InputHidden, InputNumber, InputRange, InputColor),
    *(InputDate, InputTime, InputDateTime, InputMonth, InputWeek),
    *(Checkbox, InputOption, Select, InputRadio, InputFiles),
    *(Submit, Cancel, Action),
)

#: Every element class by its `type`.
TYPES: dict[str, type[Element]] = {str(cls.type): cls for cls in _CLASSES}

#: The folder of uploaded files, as koco's paths begin. Kodosumi's names of files do not have it.
_UPLOADS = "in/"

_log = logging.getLogger(__name__)


class Model:
    """A form: `Model(InputText(name="topic"), Submit("Go"))`. Nothing in it is checked."""

    def __init__(self, *children: Any) -> None:
        self.children = children

    def get_model(self) -> list[dict[str, Any]]:
        """Return the elements as JSON, as Kodosumi's HTTP API sends them."""
        return [child.to_dict() for child in self.children]

    def get_model_json(self) -> str:
        """Return `{"elements": [...]}` as text."""
        elements = {"elements": self.get_model()}
        return json.dumps(elements, ensure_ascii=False, separators=(",", ":"), default=str)

    def render(self) -> str:
        """Return the form as HTML, without the `<form>` around it."""
        return "\n".join(child.render() for child in self.children)

    @classmethod
    def model_validate(
        cls, elms: Sequence[Mapping[str, Any]], errors: Mapping[str, list[str]] | None = None
    ) -> "Model":
        """Return the form that `get_model` describes, with `errors` at the fields they name.

        Elements of an unknown type are left out, and logged.

        Raises:
            TypeError: an element has a property that its type does not have.
        """
        children = []
        for each in elms:
            found = TYPES.get(each["type"])
            if found is None:
                _log.error("unknown element type: %s", each["type"])
                continue
            properties = {key: each[key] for key in each if key != "type"}
            name = GLOBAL_FIELD if found is Errors else each.get("name")
            if errors and name and errors.get(name):
                properties["error"] = errors[name]
            children.append(found(**properties))
        return cls(*children)

    def set_data(self, data: Mapping[str, Any] | None) -> None:
        """Show the values of a sent form. A checkbox that was not sent is off."""
        data = data or {}
        for child in self.children:
            name = getattr(child, "name", None)
            if name is not None and (name in data or isinstance(child, Checkbox)):
                child.value = child.parse_value(data.get(name))

    def collect(self, data: Mapping[str, Any], keep_unknown: bool = False) -> dict[str, Any]:
        """Return the inputs that a handler gets for the values of a sent form.

        Every named element has a key: False for a checkbox that was not sent, None for others. A
        file field holds the set of its files' names. Unknown keys are left out. With
        `keep_unknown`, which is for the answer to a lock, they are kept, and the values of file
        fields stay as they were sent.
        """
        found: dict[str, Any] = dict(data) if keep_unknown else {}
        for child in self.children:
            if (name := getattr(child, "name", None)) is None:
                continue
            value = data.get(name, False if isinstance(child, Checkbox) else None)
            if isinstance(child, InputFiles) and not keep_unknown:
                value = _file_names(value)
            found[name] = child.parse_value(value)
        return found

    @property
    def hidden(self) -> tuple[str, ...]:
        """The names of the fields whose values are never shown: passwords."""
        secrets = (each for each in self.children if isinstance(each, InputPassword))
        return tuple(dict.fromkeys(str(each.name) for each in secrets if each.name is not None))

    def to_list(self) -> list[dict[str, Any]]:
        """Return the form as elements that `koco.forms.Model.from_list` accepts.

        Properties that koco's own forms refuse, such as a default that is not a number, are left
        out, and so is every later element with the name of an earlier one.
        """
        return native.to_list(self.get_model())


def _file_names(value: Any) -> Any:
    """Return the set of file names in a sent value, or text that is not a path: a URL."""
    if not value:
        return None
    if (names := read_upload(value)) is not None:
        return names
    if isinstance(value, str):
        return value if "://" in value else {value.removeprefix(_UPLOADS)}
    if isinstance(value, Sequence | set):
        return {str(each).removeprefix(_UPLOADS) for each in value}
    return value
