"""Locks as questions to the client's person, and the person's answers.

A question is a flat form. Passwords, files and nested values may not be asked for so.
"""

import json
from collections.abc import Mapping
from typing import Any

from koco.api.agents.mcp import outcomes
from koco.api.agents.mcp.asking import Ask
from koco.api.http import json_text
from koco.errors import InputsError
from koco.forms import Model
from koco.store.model import Execution, Lock

#: Fields that a question cannot have.
_NOT_FLAT = frozenset({"password", "file", "json"})
#: What a question's field may say of its value, besides its type.
_FACETS = ("title", "description", "default", "minimum", "maximum", "minLength", "maxLength")
_FORMATS = ("email", "uri", "date", "date-time")
#: The field of a lock without a form, which takes any JSON value.
_ANY = "answer"
#: How much of a lock's data its question shows (characters).
_MOST_DATA = 4000


async def requests_of(
    ask: Ask, execution: Execution, refusals: Mapping[str, InputsError]
) -> tuple[dict[str, Any], list[str]]:
    """Return the questions of an execution's open locks by lid, and the names of the other locks.

    The others cannot be asked through this client: they are answered with `koco answer`. A question
    whose answer was refused begins with the reason.
    """
    found, others = {}, []
    for lock in await ask.calls.locks(execution):
        question = await _question(ask, lock) if "form" in ask.elicits else None
        if question is None:
            others.append(lock.name)
        else:
            if lock.lid in refusals:
                why = "\n".join(outcomes.lines_of(refusals[lock.lid]))
                question["message"] = f"The answer was refused.\n{why}\n\n{question['message']}"
            found[lock.lid] = {"method": "elicitation/create", "params": question}
    return found, others


async def answer_all(
    ask: Ask, execution: Execution, responses: dict[str, Any]
) -> dict[str, InputsError]:
    """Answer the open locks that a client's responses are for; others are ignored.

    A person who declines leaves the lock open for somebody else. Return why answers were refused,
    by lid: those locks stay open, too.

    Raises:
        ConflictError and others: see `Calls.answer`.
    """
    refusals: dict[str, InputsError] = {}
    for lock in await ask.calls.locks(execution):
        given = responses.get(lock.lid)
        if isinstance(given, dict) and given.get("action") == "accept":
            form = await ask.calls.form(lock)
            values = _values(ask, form, given.get("content"))
            try:
                await ask.calls.answer(execution.fid, lock.lid, values)
            except InputsError as exc:
                refusals[lock.lid] = exc
    return refusals


async def _question(ask: Ask, lock: Lock) -> dict[str, Any] | None:
    form = await ask.calls.form(lock)
    schema = _schema(form)
    if schema is None:
        return None
    return {"mode": "form", "message": _message(form, lock), "requestedSchema": schema}


def _schema(form: Model | None) -> dict[str, Any] | None:
    """Return a form as the schema of a question, or None if it cannot be one."""
    if form is None:
        about = {"type": "string", "title": "Answer", "description": "a text, or any JSON value"}
        return {"type": "object", "properties": {_ANY: about}, "required": [_ANY]}
    if any(field.type in _NOT_FLAT for field in form.fields):
        return None
    properties = {field.name: _flat(field.schema()) for field in form.fields}
    properties |= {name: {"type": "string", "enum": each} for name, each in form.actions.items()}
    required = [field.name for field in form.fields if field.is_required and field.default is None]
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {})


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    found = {key: schema[key] for key in _FACETS if schema.get(key) is not None}
    if "oneOf" in schema:
        choices = [each for each in schema["oneOf"] if each.get("const") is not None]
        return {"type": "string", **found, "oneOf": choices}
    if "enum" in schema:
        return {"type": "string", **found, "enum": [each for each in schema["enum"] if each]}
    kinds = schema.get("type", "string")
    kinds = [each for each in (kinds if isinstance(kinds, list) else [kinds]) if each != "null"]
    found = {"type": kinds[0] if kinds else "string", **found}
    if schema.get("format") in _FORMATS:
        found["format"] = schema["format"]
    return found


def _message(form: Model | None, lock: Lock) -> str:
    """Return what a person is asked: the form's texts, or else the lock's name, and its data."""
    elements = form.to_list() if form is not None else []
    texts = [str(each["text"]) for each in elements if each["type"] in ("markdown", "none")]
    lines = texts or [f"{lock.flow} asks for {lock.name!r}"]
    if lock.data is not None and not texts:
        shown = lock.data if isinstance(lock.data, str) else json.dumps(lock.data, indent=1)
        lines.append(shown[:_MOST_DATA])
    return "\n\n".join(lines)


def _values(ask: Ask, form: Model | None, content: Any) -> Any:
    """Return the values of an answer. Without a form, the text may be any JSON value."""
    if form is not None or not isinstance(content, dict) or content.keys() != {_ANY}:
        return content if isinstance(content, dict) else {}
    given = content[_ANY]
    if not isinstance(given, str):
        return given
    try:
        return json_text.decode(given, most_values=ask.calls.parts.settings.max_body_values)
    except ValueError:
        return given
