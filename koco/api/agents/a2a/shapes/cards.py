"""Agent cards: how agents are found, and what they say of themselves (specification, section 8).

The public card, at the well-known place, names no flow: it says that there is a koco, and that the
rest takes a key. With a key, the extended card has a skill for each flow that the key may launch,
and each flow has a card of its own.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from koco import __version__
from koco.api.agents.a2a.shapes.messages import Json
from koco.api.routes.flows import schema_of
from koco.control.services.catalog import Entry
from koco.forms import InputFiles

#: The version of the protocol.
VERSION = "1.0"
#: The extensions with the JSON Schemas of a flow's inputs and result, and with an agent's flows.
SCHEMAS, FLOWS = "urn:koco:a2a:schemas:1", "urn:koco:a2a:flows:1"
#: The member of a message's metadata that names the flow, for the agent that has all flows.
FLOW = "flow"

_INPUT = ["application/json", "text/plain"]
_OUTPUT = ["application/json", "text/plain", "text/markdown", "text/html"]
_ANY_FILE = "application/octet-stream"
#: What the schema of inputs says of a file's field.
_FILE = (
    "a file: a part of its own, with its bytes (`raw`) and its `filename`, or with its `url`;"
    " not in a data part"
)
_ABOUT = "A control plane of koco: it launches flows, and each flow is an agent."
_ASK = (
    "Ask with a key, as `Authorization: Bearer koco_…`. The extended card then lists the flows that"
    f" the key may launch. A message names one in its metadata, as `{FLOW}`."
)
_KEY = "koco"


def public(url: str) -> Json:
    """Return the card that everyone may see. `url` is that of the control plane."""
    skill = {
        **{"id": "flows", "name": "Launch flows", "description": _ASK, "tags": ["flows"]},
        **{"inputModes": [*_INPUT, _ANY_FILE], "outputModes": _OUTPUT},
    }
    return _card(
        f"{url}/a2a",
        bindings=("JSONRPC",),
        name="koco",
        description=_ABOUT,
        version=__version__,
        skills=[skill],
    )


def extended(url: str, entries: Sequence[Entry]) -> Json:
    """Return the card of the agent that has all flows of a key: each is a skill."""
    card = public(url)
    card["description"] = f"{_ABOUT} {_ASK}"
    if entries:
        card["skills"] = [_skill(entry, entry.name) for entry in entries]
        flows = {entry.name: {"url": _flow_url(url, entry), **_schemas(entry)} for entry in entries}
        about = "The flows by the ids of their skills: the URL of each one's own agent, and schemas"
        extension = {"uri": FLOWS, "description": about, "params": {"flows": flows}}
        card["capabilities"]["extensions"] = [extension]
    return card


def of_flow(url: str, entry: Entry) -> Json:
    """Return the card of a flow."""
    flow = entry.flow
    skill = _skill(entry, flow.name)
    card = _card(
        _flow_url(url, entry),
        bindings=("JSONRPC", "HTTP+JSON"),
        name=entry.name,
        description=skill["description"],
        version=flow.version or str(entry.release),
        skills=[skill],
    )
    about = "The JSON Schemas of the inputs, which a data part has, and of the result"
    extension = {"uri": SCHEMAS, "description": about, "params": _schemas(entry)}
    card["capabilities"]["extensions"] = [extension]
    if flow.organization:
        card["provider"] = {"organization": flow.organization, "url": url}
    return card


def _card(
    place: str,
    *,
    bindings: Sequence[str],
    name: str,
    description: str,
    version: str,
    skills: list[Json],
) -> Json:
    interface = {"url": place, "protocolVersion": VERSION}
    key = {"scheme": "Bearer", "description": "A key of this koco: `koco key create` makes one."}
    abilities: dict[str, Any] = {"streaming": True, "extendedAgentCard": True}
    abilities["pushNotifications"] = True
    return {
        "name": name,
        "description": description,
        "version": version,
        "supportedInterfaces": [{**interface, "protocolBinding": each} for each in bindings],
        "capabilities": abilities,
        "securitySchemes": {_KEY: {"httpAuthSecurityScheme": key}},
        "securityRequirements": [{"schemes": {_KEY: {"list": ["launch"]}}}],
        "defaultInputModes": skills[0]["inputModes"],
        "defaultOutputModes": _OUTPUT,
        "skills": skills,
    }


def _skill(entry: Entry, name: str) -> Json:
    flow = entry.flow
    about = "\n\n".join(filter(None, (flow.summary, flow.description)))
    skill: Json = {
        "id": name,
        "name": flow.summary or flow.name,
        "description": about or f"The flow {entry.name}.",
        "tags": list(flow.tags) or [entry.service],
        "inputModes": [*_INPUT, *([_ANY_FILE] if _file_fields(entry) else [])],
        "outputModes": _OUTPUT,
    }
    if flow.examples:
        skill["examples"] = [json.dumps(each.inputs, ensure_ascii=False) for each in flow.examples]
    return skill


def _schemas(entry: Entry) -> Json:
    found: Json = {"inputs": schema_of(entry)}
    for name in _file_fields(entry):
        found["inputs"]["properties"][name]["description"] = _FILE
    return found | ({"output": entry.flow.output} if entry.flow.output is not None else {})


def _file_fields(entry: Entry) -> list[str]:
    fields = entry.form.fields if entry.form is not None else ()
    return [each.name for each in fields if isinstance(each, InputFiles)]


def _flow_url(url: str, entry: Entry) -> str:
    return f"{url}/a2a/{quote(entry.service)}/{quote(entry.flow.name)}"
