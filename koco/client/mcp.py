"""Messages of the Model Context Protocol, sent to a control plane."""

import json
from collections.abc import Iterator
from typing import Any

from koco.client.exchange.answer import Answer
from koco.client.exchange.memory_budget import Room
from koco.client.transport import Transport

#: How long an answer may be silent (seconds): a stream has a heartbeat every ten.
_SILENCE_S = 60.0
#: The member of `_meta` with the revision that a message is of; older revisions have none.
VERSION = "io.modelcontextprotocol/protocolVersion"
_NAMED = {
    **{"tools/call": "name", "resources/read": "uri"},
    **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId"),
}


def send(
    transport: Transport, path: str, message: dict[str, Any], *, version: str
) -> Iterator[bytes | None]:
    """Send a message; yield the messages that come upon it, and None for each heartbeat.

    `version` is the revision that a client agreed on before, for messages that do not name theirs.

    Raises:
        UnreachableError: now or while the answer is read: the caller may try again.
        KocoError: it is refused.
    """
    headers = _headers(message, version)
    content = json.dumps(message).encode()
    with transport.stream(
        path,
        method="POST",
        query={},
        content=content,
        headers=headers,
        silence_s=_SILENCE_S,
        takes_refusals="application/json",
    ) as incoming:
        if "event-stream" not in incoming.headers.get("Content-Type", ""):
            body = bytes(Answer.of(incoming.response, Room()).body)
            if body:
                yield body
            return
        for lines in incoming.lines():
            data = [line[6:] for line in lines if line.startswith(b"data: ")]
            yield from data
            if not data:
                yield None


def _headers(message: dict[str, Any], version: str) -> dict[str, str]:
    """Return the headers that repeat what a message says."""
    params = message.get("params") or {}
    meta = params.get("_meta") or {}
    headers = {"Content-Type": "application/json"}
    headers["Accept"] = "application/json, text/event-stream"
    if own := meta.get(VERSION):
        headers["MCP-Protocol-Version"] = str(own)
        headers["Mcp-Method"] = str(message.get("method"))
        name = params.get(_NAMED.get(str(message.get("method")), ""))
        if isinstance(name, str):
            headers["Mcp-Name"] = _header_value(name)
    elif version:
        headers["MCP-Protocol-Version"] = version
    return headers


def _header_value(text: str) -> str:
    """Return a text as a header may hold it: in base64 unless it is plain."""
    is_plain = all(" " <= each <= "~" for each in text) and text == text.strip()
    if is_plain and not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    import base64  # rarely needed

    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
