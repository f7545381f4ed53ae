"""Flows as tools: their names, their schemas, and the files in their arguments."""

import base64
import binascii
import re
from typing import Any

from koco.api.agents.calls import Calls
from koco.api.agents.mcp.asking import Ask
from koco.api.routes.flows import schema_of
from koco.control.services.catalog import Entry
from koco.errors import InputsError, NotFoundError
from koco.forms import InputFiles

#: How `expose` in a manifest calls this protocol.
PROTOCOL = "mcp"
#: A person's own service is called `hello~ada`, and tools may not have `~` in their names.
_TILDE, _IN_NAMES = "~", "_"
_PLAIN, _NOT_PLAIN = re.compile(r"[A-Za-z0-9_]+"), re.compile(r"[^A-Za-z0-9]+")

_FILE = {
    "type": "object",
    "description": "a file: its name, and its content in base64",
    "properties": {
        "name": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
    },
    "required": ["name", "data"],
    "additionalProperties": False,
}
#: How long a message about a file may be (characters).
_LONGEST = 300
#: The other way to give a file, if the setting `url_inputs` allows it.
_URL = {"type": "string", "format": "uri", "description": "an https URL to fetch it from"}
_WEB = ("http://", "https://")


def listing(ask: Ask) -> list[Entry]:
    """Return the flows that are tools for the caller, at this endpoint."""
    found = ask.calls.flows(PROTOCOL)
    return [each for each in found if ask.service in (None, each.service)]


def find(ask: Ask, name: str) -> Entry:
    """Return the flow of a tool.

    Raises:
        NotFoundError: there is none.
    """
    service, _, flow = name.rpartition(".")
    if ask.service is not None:
        service, flow = ask.service, name
    elif _TILDE in service:
        raise NotFoundError(f"there is no tool {name[:200]!r}")
    try:
        return ask.calls.flow(f"{service.replace(_IN_NAMES, _TILDE)}/{flow}", PROTOCOL)
    except NotFoundError:
        # Clients that know only letters, digits and underscores write a name with these.
        known = listing(ask) if _PLAIN.fullmatch(name) else []
        alike = [each for each in known if _plain(_name_of(ask, each)) == _plain(name)]
        if len(alike) != 1:
            raise NotFoundError(f"there is no tool {name[:200]!r}") from None
        return alike[0]


def describe(ask: Ask, entry: Entry) -> dict[str, Any]:
    """Return a flow as a tool."""
    flow = entry.flow
    name = _name_of(ask, entry)
    texts = [text for text in (flow.summary, flow.description) if text]
    tool: dict[str, Any] = {"name": name, "title": flow.summary or entry.name}
    tool["description"] = "\n\n".join(texts) or f"Run the flow {entry.name}."
    tool["inputSchema"] = _input_schema(ask, entry)
    if flow.output is not None:
        tool["outputSchema"] = flow.output if fits(ask, flow.output) else _wrapped(flow.output)
    if annotations := _annotations(entry):
        tool["annotations"] = annotations
    return {**tool, "_meta": {"koco/flow": entry.name}}


def fits(ask: Ask, schema: dict[str, Any]) -> bool:
    """Whether a client reads a result of this schema. The older ones read only objects."""
    return ask.is_modern or schema.get("type") == "object"


def _name_of(ask: Ask, entry: Entry) -> str:
    if ask.service is not None:
        return entry.flow.name
    return f"{entry.service.replace(_TILDE, _IN_NAMES)}.{entry.flow.name}"


def _plain(name: str) -> str:
    return _NOT_PLAIN.sub("_", name)


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in schema.items() if key not in ("$defs", "$schema")}
    outer: dict[str, Any] = {"type": "object", "properties": {"result": inner}}
    outer["required"] = ["result"]
    return outer | ({"$defs": schema["$defs"]} if "$defs" in schema else {})


def _annotations(entry: Entry) -> dict[str, bool]:
    hints = entry.flow.hints
    named = {
        "readOnlyHint": hints.read_only,
        "destructiveHint": hints.destructive,
        "idempotentHint": hints.idempotent,
        "openWorldHint": hints.open_world,
    }
    return {name: value for name, value in named.items() if value is not None}


def _input_schema(ask: Ask, entry: Entry) -> dict[str, Any]:
    schema = schema_of(entry)
    ways = [_FILE, _URL] if ask.calls.parts.settings.url_inputs else [_FILE]
    for field in entry.form.fields if entry.form else ():
        if isinstance(field, InputFiles):
            own = schema["properties"][field.name]
            title = {"title": own["title"]} if "title" in own else {}
            options = [{"type": "array", "items": {"anyOf": ways}}] if field.is_list else [*ways]
            options += [] if field.required else [{"type": "null"}]
            schema["properties"][field.name] = {**title, "anyOf": options}
    if examples := [each.inputs for each in entry.flow.examples]:
        schema["examples"] = examples
    return schema


async def inputs_of(calls: Calls, entry: Entry, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a launch: the arguments, with the files among them uploaded.

    Raises:
        InputsError: a file is not in base64, or is a text that is no URL.
        LimitError and others: see `Calls.upload`.
    """
    inputs = dict(arguments)
    for field in entry.form.fields if entry.form else ():
        if isinstance(field, InputFiles) and (value := inputs.get(field.name)) is not None:
            inputs[field.name] = await _uploaded(calls, field.name, value)
    return inputs


async def _uploaded(calls: Calls, field: str, value: Any) -> Any:
    if isinstance(value, list):
        return [await _uploaded(calls, field, each) for each in value]
    if isinstance(value, str) and value and not value.lower().startswith(_WEB):
        message = f"a file is an object with its `name` and, in base64, its `data`; got {value!r}"
        raise InputsError(**{field: message[:_LONGEST]})
    if not isinstance(value, dict) or value.keys() != {"name", "data"}:
        return value
    given = value["data"]
    try:
        # Without the line ends that `base64` and MIME put in.
        text = "".join(given.split()) if isinstance(given, str) else given
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        message = "`data` must be the file's content in base64"
        raise InputsError(**{field: message}) from None
    return await calls.upload(value["name"], data)
