"""Payloads of events in Kodosumi's shape: JSON text in which each value stands below its type.

`{"dict": {…}}`, `{"str": "…"}`, `{"Markdown": {"body": "…"}}`, `{"__list__": […]}`.
"""

from typing import Any

import msgspec

from koco.kodosumi.payloads import TYPE

#: Kodosumi's names of koco's bodies.
_BODIES = {"markdown": "Markdown", "html": "HTML", "text": "Text"}

#: Keys of objects that stand for something else: a value that is too large, or keys that collide.
_MARKS = frozenset({"$cut", "$pairs"})

#: Models of CrewAI that Kodosumi's clients know by name, and fields by which they are recognized.
#: Flows of koco's own model store the fields without the name.
_MODELS = {
    "CrewOutput": frozenset({"raw", "tasks_output", "token_usage"}),
    "TaskOutput": frozenset({"raw", "description", "agent", "output_format"}),
    "AgentFinish": frozenset({"thought", "output", "text"}),
    "AgentAction": frozenset({"thought", "tool", "tool_input", "text"}),
    "ToolResult": frozenset({"result", "result_as_answer"}),
}


def serialize(value: Any) -> str:
    """Return a payload as text."""
    return msgspec.json.encode(wrap(value)).decode()


def text_body(text: str) -> str:
    """Return a message as the text of a `Text` body."""
    return serialize({"type": "text", "body": text})


def wrap(value: Any) -> dict[str, Any]:
    """Return a value below the name of its type."""
    if isinstance(value, list):
        return {"__list__": [wrap(each) for each in value]}
    if isinstance(value, dict):
        if (name := _body_name(value)) is not None:
            return {name: {"body": value["body"]}}
        if "$repr" in value:
            return {"TypeError": str(value["$repr"])}
        if (name := _class_name(value)) is not None:
            return {name: {key: each for key, each in value.items() if key != TYPE}}
        return {_model_name(value): value}
    if isinstance(value, str | bool | int | float):
        return {type(value).__name__: value}
    return {"TypeError": str(value)}


def _body_name(value: dict[str, Any]) -> str | None:
    if value.keys() != {"type", "body"} or not isinstance(value["type"], str):
        return None
    return _BODIES.get(value["type"]) if isinstance(value["body"], str) else None


def _class_name(value: dict[str, Any]) -> str | None:
    """Return the name of an object's class, which services written for Kodosumi keep."""
    name = value.get(TYPE)
    return name if isinstance(name, str) and not _MARKS & value.keys() else None


def _model_name(value: dict[str, Any]) -> str:
    fits = (name for name, fields in _MODELS.items() if fields <= value.keys())
    return next(fits, "dict")
