"""Forms: what a flow asks for, and the check of what it was given.

Used as `from koco import forms as F`. A `Model` is a form; its elements are data
(`to_list`, `from_list`), so a manifest can hold them and any client draw them.
Every property that constrains a value is enforced by `Model.validate`, on the
server, and never left to whoever draws the form. Standard library only.

`readers` turns text and JSON into typed values, `elements` has what shows or
sends, `fields`, `moments` and `choices` what carries a value, `model` the form,
`problems` its faults.
"""

from koco.forms.choices import Checkbox, InputFiles, InputJSON, InputOption, Select
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
from koco.forms.model import TYPES, Model, named
from koco.forms.moments import InputDate, InputDateTime, InputTime
from koco.forms.problems import FormError, Problem, nearest

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
    "named",
    "nearest",
]
