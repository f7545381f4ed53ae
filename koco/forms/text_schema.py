"""The JSON Schema of inputs that travel as text, for flows that were written for Kodosumi."""

from typing import Any

from koco.forms.elements.base import to_json
from koco.forms.elements.choices import Checkbox, InputFiles, Select
from koco.forms.elements.fields import Field
from koco.forms.model import Model

#: The facets of numbers and lengths. They would not hold for text, or are only for browsers.
_FACETS = ("minimum", "maximum", "multipleOf", "minLength", "maxLength", "pattern", "default")


def of(form: Model) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a form's inputs as a browser sends them.

    It advises: the service's own code decides about each value, and unknown keys are ignored.
    """
    properties = {field.name: _describe(field) for field in form.fields}
    properties |= {name: {"enum": values} for name, values in form.actions.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": [each.name for each in form.fields if each.is_required],
    }


def _describe(field: Field) -> dict[str, Any]:
    schema = field.schema()
    if isinstance(field, InputFiles):
        return schema
    title = {"title": field.label} if field.label else {}
    if isinstance(field, Checkbox):
        about = " ".join(filter(None, [field.option, "Leave it out for no."]))
        return {**title, "enum": ["on"], "description": about}
    default = {} if field.default is None else {"default": str(to_json(field.default))}
    if isinstance(field, Select):
        return {**title, "type": "string", "examples": field.names, **default}
    kept = {key: value for key, value in schema.items() if key not in _FACETS}
    about = _about(schema)
    return {**kept, "type": "string", **({"description": about} if about else {}), **default}


def _about(schema: dict[str, Any]) -> str:
    """Return a number's limits in words; otherwise the description that there is."""
    kinds = schema.get("type")
    if not {"number", "integer"} & {*(kinds if isinstance(kinds, list) else [kinds])}:
        return str(schema.get("description", ""))
    limits = [f"from {schema['minimum']}"] if "minimum" in schema else []
    limits += [f"to {schema['maximum']}"] if "maximum" in schema else []
    return " ".join(["a number as text", *limits])
