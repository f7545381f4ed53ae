"""Every class of elements by its type, and the reading of one element from data."""

from collections.abc import Mapping

from koco.forms import readers
from koco.forms.elements.base import (
    HR,
    HTML,
    Action,
    Break,
    Cancel,
    DisplayInfo,
    Element,
    Errors,
    Markdown,
    Submit,
)
from koco.forms.elements.choices import Checkbox, InputFiles, InputJSON, InputRadio, Select
from koco.forms.elements.dates import InputDate, InputDateTime, InputMonth, InputTime, InputWeek
from koco.forms.elements.fields import InputArea, InputPassword, InputText
from koco.forms.elements.numbers import InputNumber, InputRange
from koco.forms.elements.texts import (
    InputColor,
    InputEmail,
    InputHidden,
    InputSearch,
    InputTel,
    InputUrl,
)
from koco.forms.problems import FormError, Problem, suggestion

_CLASSES: tuple[type[Element], ...] = (
    *(InputText, InputPassword, InputNumber, InputArea, InputDate, InputTime, InputDateTime),
    *(InputEmail, InputUrl, InputTel, InputSearch, InputMonth, InputWeek, InputColor, InputRange),
    *(Checkbox, Select, InputRadio, InputFiles, InputJSON, InputHidden),
    *(Submit, Cancel, Action),
    *(Markdown, HTML, DisplayInfo, Break, HR, Errors),
)

#: Every element class by its `type`.
TYPES: dict[str, type[Element]] = {cls.type: cls for cls in _CLASSES}


def read_element(data: object) -> Element:
    """Return the element that data describes; raise `FormError` with all its problems."""
    if not isinstance(data, Mapping):
        message = f"must be an object with a type, got {readers.kind(data)}"
        raise FormError([Problem(None, None, message)])
    kind = data.get("type")
    if kind is None:
        raise FormError([Problem(None, "type", f"is missing; the types are {', '.join(TYPES)}")])
    if not isinstance(kind, str) or kind not in TYPES:
        near = suggestion(str(kind), TYPES, otherwise="the types are")
        raise FormError([Problem(None, "type", f"there is no type {kind!r}; {near}")])
    return TYPES[kind].from_dict({key: data[key] for key in data if key != "type"})
