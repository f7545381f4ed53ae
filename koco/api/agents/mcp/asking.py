"""One request to the endpoint: who asks what, in which revision, with which capabilities."""

import base64
import binascii
import re
from typing import Any

import msgspec

from koco import trace_context
from koco.api.agents.calls import Calls
from koco.api.agents.mcp import versions
from koco.api.agents.mcp.messages import Message, RpcError
from koco.api.http.request import Request
from koco.trace_context import Trace

_VERSION_HEADER = "mcp-protocol-version"
_ENCODED = re.compile(r"=\?base64\?(?P<data>[A-Za-z0-9+/]*={0,2})\?=")


class Ask(msgspec.Struct, frozen=True):
    """A request that has passed the checks of its revision."""

    message: Message
    calls: Calls
    version: str
    #: The service at whose own endpoint it arrived, or None.
    service: str | None = None

    @property
    def is_modern(self) -> bool:
        """Whether it says all about itself, as from revision 2026-07-28 on."""
        return self.version in versions.MODERN

    @property
    def capabilities(self) -> dict[str, Any]:
        """What its client can do. Of an older client, nothing is known here."""
        found = self.message.meta.get(versions.CAPABILITIES) if self.is_modern else None
        return found if isinstance(found, dict) else {}

    @property
    def has_tasks(self) -> bool:
        """Whether its client knows the tasks extension."""
        extensions = self.capabilities.get("extensions")
        return isinstance(extensions, dict) and versions.TASKS in extensions

    @property
    def elicits(self) -> frozenset[str]:
        """The modes in which its client can ask a person: `form`, `url`."""
        found = self.capabilities.get("elicitation")
        if not isinstance(found, dict):
            return frozenset()
        modes = frozenset(mode for mode in ("form", "url") if mode in found)
        return modes or frozenset({"form"})

    @property
    def trace(self) -> Trace | None:
        """The span that it belongs below, if it says so itself."""
        meta = self.message.meta
        return trace_context.parse(meta.get("traceparent"), [meta.get("tracestate")])

    @property
    def progress_token(self) -> int | str | None:
        """The token that progress is told with, if its client wants it."""
        found = self.message.meta.get("progressToken")
        return found if isinstance(found, int | str) and not isinstance(found, bool) else None


def of(request: Request, message: Message, service: str | None) -> Ask:
    """Return a message as a request that may be answered.

    Raises as `check` does.
    """
    return Ask(message, Calls(request), check(request, message), service)


def check(request: Request, message: Message) -> str:
    """Return the revision of a message, after the checks that the revision demands.

    Raises:
        RpcError: headers and body differ, members are missing, or it is not spoken here.
    """
    header = request.headers.get(_VERSION_HEADER)
    named = message.meta.get(versions.VERSION)
    if named is None and (message.method == "initialize" or header in (None, *versions.LEGACY)):
        return header or versions.UNNAMED
    if not message.is_request:
        return _supported(str(header or named))
    if missing := [
        key for key in (versions.VERSION, versions.CAPABILITIES) if key not in message.meta
    ]:
        raise RpcError(
            versions.INVALID_PARAMS, f"params._meta has no {', '.join(missing)}, which is required"
        )
    _check_headers(request, message, str(named))
    return _supported(str(named))


def _supported(version: str) -> str:
    if version in versions.MODERN:
        return version
    supported = [*versions.MODERN, *versions.LEGACY]
    raise RpcError(
        versions.UNSUPPORTED_VERSION,
        f"revision {version[:40]!r} is not supported",
        data={"supported": supported, "requested": version},
    )


def _check_headers(request: Request, message: Message, version: str) -> None:
    """Check that the headers say what the body says."""
    name = versions.NAMED.get(message.method or "")
    value = message.params.get(name) if name else None
    wanted = {"MCP-Protocol-Version": version, "Mcp-Method": message.method}
    wanted |= {"Mcp-Name": value} if isinstance(value, str) else {}
    for header, body in wanted.items():
        found = request.headers.getall(header, [])
        # The server that parses requests keeps white space at the end of a value.
        given = _decode(found[0].strip(" \t")) if len(found) == 1 else None
        if given != body:
            what = "is missing" if not found else f"{found[0][:80]!r} does not match the body"
            raise RpcError(versions.HEADER_MISMATCH, f"Header mismatch: {header} {what}")


def _decode(value: str) -> str | None:
    """Return a header's value, decoded if it is marked as base64; None if it cannot be."""
    found = _ENCODED.fullmatch(value)
    if found is None:
        return value
    try:
        decoded = base64.b64decode(found["data"], validate=True)
        is_canonical = base64.b64encode(decoded).decode() == found["data"]
        return decoded.decode() if is_canonical else None
    except (binascii.Error, UnicodeDecodeError):
        return None
