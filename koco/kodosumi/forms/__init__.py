"""Kodosumi's form elements, with its arguments, its JSON, its HTML and its values.

Used as `from kodosumi.core import forms as F`. Nothing is checked: handlers get the values as they
were sent. `base`, `content`, `text`, `numbers`, `dates`, `choices` and `buttons` define the
elements, `model` the form, and `native` translates a form into koco's own elements.
"""

from koco.kodosumi.forms.base import Element, FormElement
from koco.kodosumi.forms.buttons import Action, ActionElement, Cancel, InputFiles, Submit
from koco.kodosumi.forms.choices import Checkbox, InputOption, InputRadio, Select
from koco.kodosumi.forms.content import HR, HTML, Break, DisplayInfo, Errors, Markdown
from koco.kodosumi.forms.dates import InputDate, InputDateTime, InputMonth, InputTime, InputWeek
from koco.kodosumi.forms.model import Model
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

__all__ = [
    "HR",
    "HTML",
    "Action",
    "ActionElement",
    "Break",
    "Cancel",
    "Checkbox",
    "DisplayInfo",
    "Element",
    "Errors",
    "FormElement",
    "InputArea",
    "InputColor",
    "InputDate",
    "InputDateTime",
    "InputEmail",
    "InputFiles",
    "InputHidden",
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
    "Select",
    "Submit",
]
