"""Forms: the inputs that a flow asks for, and their validation.

Used as `from koco import forms as F`. A `Model` is a form. Its elements are data
(`to_list`, `from_list`), so a manifest can hold them and any client can draw them.
`Model.validate` enforces every property that constrains a value, on the server;
no client has to. Standard library only.

`readers` turns text and JSON into typed values. `elements` defines content and
buttons; `fields`, `date_fields` and `choices` define the elements that carry a value.
`model` is the form, `problems` are the errors in its definition.
"""

from koco.forms.choices import Checkbox, InputFiles, InputJSON, InputOption, Select
from koco.forms.date_fields import InputDate, InputDateTime, InputTime
from koco.forms.elements import (
    HR,
    HTML,
    Action,
    Break,
    Cancel,
    Element,
    Errors,
    Markdown,
    Submit,
)
from koco.forms.fields import Field, InputArea, InputNumber, InputPassword, InputText
from koco.forms.model import TYPES, Model, match_names
from koco.forms.problems import FormError, Problem

__all__ = [
    "HR",
    "HTML",
    "TYPES",
    "Action",
    "Break",
    "Cancel",
    "Checkbox",
    "Element",
    "Errors",
    "Field",
    "FormError",
    "InputArea",
    "InputDate",
    "InputDateTime",
    "InputFiles",
    "InputJSON",
    "InputNumber",
    "InputOption",
    "InputPassword",
    "InputText",
    "InputTime",
    "Markdown",
    "Model",
    "Problem",
    "Select",
    "Submit",
    "match_names",
]
