"""Errors in the shape of the binding that a request came by (the specification's 9.5 and 11.6)."""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response

from koco import errors as koco_errors
from koco import tokens
from koco.api.agents.a2a import answers
from koco.api.agents.a2a.faults import Fault, details, fault_of
from koco.api.http import errors
from koco.errors import KocoError, NotFoundError

AnyRequest = Request[Any, Any, Any]

#: Statuses that say that a request did not reach an agent. In JSON-RPC all other errors have the
#: status 200.
_TRANSPORT = frozenset({401, 403, 405, 413, 429})
_CALL = "koco.a2a.call"


def is_rpc(request: AnyRequest) -> bool:
    """Whether a request is to an agent's own URL, and so of JSON-RPC."""
    return request.method == "POST" and len(request.url.path.strip("/").split("/")) in (1, 3)


def begin(request: AnyRequest, number: str | float | None) -> None:
    """Note the id of a call in JSON-RPC, which the answer to it has as well."""
    request.scope[_CALL] = number  # type: ignore[literal-required]


def _in_rpc(request: AnyRequest, error: KocoError, fault: Fault) -> tuple[Any, int]:
    told = {"code": fault.rpc, "message": _message(error), "data": details(error)}
    is_transport = fault.http in _TRANSPORT or fault.http >= 500 or type(error) is NotFoundError
    body = {"jsonrpc": "2.0", "id": request.scope.get(_CALL), "error": told}
    return body, fault.http if is_transport else 200


def _in_http(error: KocoError, fault: Fault) -> tuple[Any, int]:
    told = {"code": fault.http, "status": fault.status, "message": _message(error)}
    return {"error": {**told, "details": details(error)}}, fault.http


def _message(error: KocoError) -> str:
    return tokens.mask_all(error.message)


def _translate(handle: Callable[..., Response[Any]]) -> Callable[..., Response[Any]]:
    """Return a handler of an exception whose answer has A2A's shape."""

    def answer(request: AnyRequest, exc: Exception) -> Response[Any]:
        # It notes the error for the audit log, and knows the headers.
        given = handle(request, exc)
        error = exc
        if not isinstance(error, KocoError):
            error = koco_errors.from_wire(msgspec.to_builtins(given.content))
        fault = fault_of(error)
        is_call = is_rpc(request)
        body, status = _in_rpc(request, error, fault) if is_call else _in_http(error, fault)
        return Response(
            msgspec.json.encode(body),
            status_code=status,
            headers=given.headers,
            media_type=answers.JSON if is_call else answers.media_type(request),
        )

    return answer


#: The handler of each exception that becomes an answer.
HANDLERS: dict[Any, Any] = {kind: _translate(handle) for kind, handle in errors.HANDLERS.items()}
