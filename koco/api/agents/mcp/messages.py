"""JSON-RPC: the request in a body, and the answers to it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from koco import __version__
from koco.api.agents.mcp import versions

#: The id of a request. A notification has none.
Id = int | str | float | msgspec.UnsetType | None


class RpcError(Exception):
    """A JSON-RPC error, and the HTTP status of its answer."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        data: Any = None,
        status: int | None = None,
        id_: "Id" = msgspec.UNSET,
    ) -> None:
        """`id_` is that of a request that is no message otherwise."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.status = versions.STATUS.get(code, 200) if status is None else status
        self.id = id_


class Message(msgspec.Struct):
    """A request; a notification if it has no `id`, or a client's answer if it has no `method`."""

    jsonrpc: str = ""
    method: str | None = None
    id: Id = msgspec.UNSET
    params: dict[str, Any] = {}

    @property
    def meta(self) -> dict[str, Any]:
        """The `_meta` of the parameters."""
        found = self.params.get("_meta")
        return found if isinstance(found, dict) else {}

    @property
    def is_request(self) -> bool:
        """Whether it wants an answer."""
        return self.method is not None and self.id is not msgspec.UNSET

    @property
    def cursor(self) -> str | None:
        """The cursor of a list's next page.

        Raises:
            RpcError: it is no text.
        """
        return self.text("cursor") if self.params.get("cursor") is not None else None

    def text(self, name: str) -> str:
        """Return a parameter that is a text.

        Raises:
            RpcError: it is missing, or no text.
        """
        found = self.params.get(name)
        if not isinstance(found, str):
            raise RpcError(versions.INVALID_PARAMS, f"params.{name} must be a string")
        return found

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a parameter that is an object; an empty one if it is missing.

        Raises:
            RpcError: it is no object.
        """
        found = self.params.get(name)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise RpcError(versions.INVALID_PARAMS, f"params.{name} must be an object")
        return found


class _Identified(msgspec.Struct):
    id: Id = msgspec.UNSET


def read(body: bytes) -> Message:
    """Return the message in a request's body.

    Raises:
        RpcError: it is no JSON-RPC message.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise RpcError(versions.PARSE_ERROR, f"the body is not JSON: {exc}") from exc
    if isinstance(value, list):
        raise RpcError(versions.INVALID_REQUEST, "batches are not supported: send one message")
    if isinstance(value, dict) and value.get("params", {}) is None:
        del value["params"]  # some clients send null for none
    try:
        message = msgspec.convert(value, Message)
    except msgspec.ValidationError as exc:
        what = f"no JSON-RPC message: {exc}"
        raise RpcError(versions.INVALID_REQUEST, what, id_=_id_of(value)) from exc
    if message.jsonrpc != "2.0":
        what = 'no JSON-RPC message: `jsonrpc` must be "2.0"'
        raise RpcError(versions.INVALID_REQUEST, what, id_=message.id)
    if message.id is None:
        raise RpcError(versions.INVALID_REQUEST, "the `id` of a request must not be null")
    return message


def _id_of(value: Any) -> Id:
    """Return the id of what is no message: its sender waits for an answer with that."""
    try:
        return msgspec.convert(value, _Identified).id
    except msgspec.ValidationError:
        return msgspec.UNSET


def result(id_: Any, value: Mapping[str, Any], *, is_modern: bool, kind: str = "complete") -> bytes:
    """Return the answer to a request. `kind` is its `resultType`, which modern clients read."""
    body = dict(value)
    if is_modern:
        meta = {versions.SERVER: server_info(), **body.pop("_meta", {})}
        body = {"resultType": body.pop("resultType", kind), **body, "_meta": meta}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id_, "result": body})


def error(id_: Any, exc: RpcError) -> bytes:
    """Return the answer to a request that failed. Without an `id` it is null, as in JSON-RPC."""
    id_ = exc.id if id_ is msgspec.UNSET else id_
    about = {"code": exc.code, "message": exc.message}
    about |= {} if exc.data is None else {"data": exc.data}
    id_ = None if id_ is msgspec.UNSET else id_
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id_, "error": about})


def notification(method: str, params: Mapping[str, Any]) -> bytes:
    """Return a notification."""
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params})


def event(data: bytes) -> bytes:
    """Return a message as a server-sent event."""
    return b"event: message\ndata: %b\n\n" % data


def server_info() -> dict[str, str]:
    """Return the name and version of this server."""
    return {"name": "koco", "title": "koco", "version": __version__}
