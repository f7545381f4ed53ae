"""The JSON Schema of manifests. With it, editors complete and explain keys."""

import dataclasses
import inspect
from typing import Any

from koco.events.schema import DIALECT

#: The schema's name. The number rises when a change makes valid manifests invalid.
ID = "urn:koco:schema:manifest:1"

_TEXT: dict[str, Any] = {"type": "string"}

#: The schema of a form property, by the name of the reader that checks it (`koco.forms`).
_READERS: dict[str, dict[str, Any]] = {
    "text": _TEXT,
    "name": {"type": "string", "minLength": 1},
    "pattern": {"type": "string", "format": "regex"},
    "boolean": {"type": "boolean"},
    "checkbox": {"type": "boolean"},
    "number": {"type": "number"},
    "count": {"type": "integer", "minimum": 0},
    "step": {"type": "number", "exclusiveMinimum": 0},
    "step_or_any": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "any"}]},
    "seconds": {"type": "number", "minimum": 0.001},
    "date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    "time": {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}"},
    "datetime": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]"},
    "month": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
    "week": {"type": "string", "pattern": "^[0-9]{4}-W[0-9]{2}$"},
    "anything": {},
    "json_schema": {"type": "object"},
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a manifest, its forms' elements included."""
    from koco.forms import TYPES
    from koco.manifest.model import Manifest

    schema = Manifest.model_json_schema()
    definitions = schema.pop("$defs")
    kinds = {f"Input_{name}": _element(name, cls) for name, cls in TYPES.items()}
    element = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": list(TYPES)}},
        # Selected by the type, so that an editor only mentions that element.
        "allOf": [_element_rule(name) for name in TYPES],
    }
    definitions["Flow"]["properties"]["inputs"]["anyOf"][0]["items"] = element
    schema["properties"]["locks"]["additionalProperties"]["items"] = element
    some = {"required": ["flows"], "properties": {"flows": {"minItems": 1}}}
    schema["anyOf"] = [some, {"required": ["app"]}]
    return {
        "$schema": DIALECT,
        "$id": ID,
        **schema,
        "title": "koco manifest",
        "$defs": {**definitions, **kinds, "Option": _option()},
    }


def _element_rule(name: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
        "then": {"$ref": f"#/$defs/Input_{name}"},
    }


def _element(name: str, cls: type[Any]) -> dict[str, Any]:
    described = _properties(cls)
    described["properties"] = {"type": {"const": name}, **described["properties"]}
    described["required"] = ["type", *described["required"]]
    return {"title": cls.__name__, "description": inspect.getdoc(cls), **described}


def _properties(cls: type[Any]) -> dict[str, Any]:
    fields = dataclasses.fields(cls)
    return {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": [field.name for field in fields if field.default is dataclasses.MISSING],
        "additionalProperties": False,
    }


def _property(field: "dataclasses.Field[Any]") -> dict[str, Any]:
    if field.name == "option" and field.default is dataclasses.MISSING:
        choice = {"anyOf": [_TEXT, {"$ref": "#/$defs/Option"}]}
        return {"type": "array", "minItems": 1, "items": choice}
    # A property with an unknown reader gets an empty schema, which accepts everything.
    return dict(_READERS.get(field.metadata["read"].__name__, {}))


def _option() -> dict[str, Any]:
    from koco.forms import InputOption

    described = _properties(InputOption)
    described["properties"]["type"] = {"const": "option"}
    return {"title": "InputOption", "description": inspect.getdoc(InputOption), **described}
