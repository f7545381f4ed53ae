"""Forms: the inputs that a flow asks for, and their validation.

Used as `from koco import forms as F`. A `Model` is a form. Its elements are data
(`to_list`, `from_list`), so a manifest can hold them and any client can draw them.
`Model.validate` enforces every property that constrains a value, on the server;
no client has to. Standard library only.

`readers` and `text_formats` turn text and JSON into typed values. `elements` has a class for each
element, `model` is the form, `problems` are the errors in its definition. `text_schema` describes
the inputs of flows that get text, `browser` has the values that a browser sends for them.
"""

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
from koco.forms.elements.choices import (
    Checkbox,
    InputFiles,
    InputJSON,
    InputOption,
    InputRadio,
    Select,
)
from koco.forms.elements.dates import InputDate, InputDateTime, InputMonth, InputTime, InputWeek
from koco.forms.elements.fields import Field, InputArea, InputPassword, InputText
from koco.forms.elements.numbers import InputNumber, InputRange
from koco.forms.elements.texts import (
    InputColor,
    InputEmail,
    InputHidden,
    InputSearch,
    InputTel,
    InputUrl,
)
from koco.forms.elements.types import TYPES
from koco.forms.model import Model, match_names
from koco.forms.problems import FormError, Problem

__all__ = [
    "HR",
    "HTML",
    "TYPES",
    "Action",
    "Break",
    "Cancel",
    "Checkbox",
    "DisplayInfo",
    "Element",
    "Errors",
    "Field",
    "FormError",
    "InputArea",
    "InputColor",
    "InputDate",
    "InputDateTime",
    "InputEmail",
    "InputFiles",
    "InputHidden",
    "InputJSON",
    "InputMonth",
    "InputNumber",
    "InputOption",
    "InputPassword",
    "InputRadio",
    "InputRange",
    "InputSearch",
    "InputTel",
    "InputText",
    "InputTime",
    "InputUrl",
    "InputWeek",
    "Markdown",
    "Model",
    "Problem",
    "Select",
    "Submit",
    "match_names",
]
