"""The result of an execution as one text, which MIP-003 shows and MIP-004 hashes."""

from typing import Any

import msgspec

#: The types of `koco.response`.
_BODIES = frozenset({"markdown", "html", "text"})


def of(result: Any) -> str:
    """Return a flow's result as text: a response's body, a text as it is, or else JSON."""
    if result is None:
        return ""
    if isinstance(result, str):
        return result
    if isinstance(result, dict) and result.keys() == {"type", "body"}:
        kind, body = result["type"], result["body"]
        if isinstance(kind, str) and kind in _BODIES and isinstance(body, str):
            return body
    return msgspec.json.encode(result).decode()
