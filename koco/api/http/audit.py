"""Write requests to the audit log.

The log has every change, done or refused, and every refusal because of a missing key or scope. It
has no reads. Routes need not call it: actor, action, target and outcome follow from the request. A
route that knows more adds it with `about`.
"""

import logging
from typing import Any

import msgspec

from koco import tokens
from koco.api.http import cookies, problem_details, proxy, request_id
from koco.api.http.auth import Connection
from koco.api.http.request import Request
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.errors import KocoError
from koco.store.model import AuditEntry

log = logging.getLogger(__name__)

#: Actions that use a method for changes, but change nothing.
_READING = frozenset(("make_plan", "examine"))
#: Refusals that are always logged: no key, no scope, too many attempts without one.
_REFUSED = frozenset((401, 403, 429))
_HERE = "koco.audit"


def about(
    connection: Connection, *, who: str | None = None, target: str | None = None, **detail: Any
) -> None:
    """Add details to the audit entry of a request."""
    known = _known(connection.scope)
    known |= {"detail": {**known.get("detail", {}), **detail}}
    known |= {name: value for name, value in (("who", who), ("target", target)) if value}


def launch(request: Request, **detail: Any) -> AuditEntry:
    """Return the entry that the store writes when it creates an execution.

    The request then gets no second entry, unless it is refused.
    """
    _known(request.scope)["is_noted"] = True
    action = _action(request.scope)
    # `act` forwards a request to a service's endpoint. If it names a flow, it is a launch.
    action = "launch" if action == "act" else action
    return _entry(request.scope, "ok", action=action, detail=detail)


def because(connection: Connection, code: str) -> None:
    """Note why a request is refused: an error's code."""
    _known(connection.scope)["code"] = code


async def record(message: Any, scope: Any) -> None:
    """Log the request before it is answered: the application's `before_send`.

    If the request changed something and the entry cannot be written, the answer is that failure.
    """
    if message["type"] == "http.response.body" and "instead" in _known(scope):
        message["body"], _known(scope)["instead"] = _known(scope)["instead"], b""
    if message["type"] != "http.response.start" or not _is_logged(scope, message["status"]):
        return
    status = message["status"]
    parts: Parts = scope["app"].state.parts
    outcome = "ok" if status < 400 else _known(scope).get("code") or f"http_{status}"
    entry = _entry(scope, outcome)
    try:
        await parts.audit.note(entry)
    except KocoError as exc:
        log.exception("done, and the audit log could not be written: %s", entry)
        _answer_instead(message, scope, exc)


def _answer_instead(message: Any, scope: Any, error: KocoError) -> None:
    error.message = f"it is done, but is not in the audit log: {error.message}"
    body = msgspec.json.encode(problem_details.problem(error, request=request_id.request_id(scope)))
    headers = {"content-type": problem_details.MEDIA_TYPE, "content-length": str(len(body))}
    message["status"] = error.http_status
    message["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    message["headers"].append((b"retry-after", b"1"))
    _known(scope)["instead"] = body


def _is_logged(scope: Any, status: int) -> bool:
    if scope["type"] != "http":
        return False
    caller = scope.get("auth")
    action = _action(scope)
    if not isinstance(caller, Caller):
        return status in _REFUSED or "who" in _known(scope)
    if not caller.name:
        return False  # public routes of a service: its own business
    if status < 400 and (_known(scope).get("is_noted") or caller.fid is not None):
        return False  # the flow's events already show its own files
    return status == 403 or (scope["method"] not in cookies.SAFE and action not in _READING)


def _entry(scope: Any, outcome: str, **more: Any) -> AuditEntry:
    caller = scope.get("auth")
    known = _known(scope)
    if not isinstance(caller, Caller):
        caller = Caller(name="", address=proxy.address(scope))
    return AuditEntry(
        **{
            "action": _action(scope),
            "who": known.get("who") or caller.name,
            "credential": caller.credential,
            # A path may contain a key that was meant for another place.
            "target": tokens.mask_all(known.get("target") or _target(scope)),
            "outcome": outcome,
            "address": caller.address,
            "request": request_id.request_id(scope),
            "detail": known.get("detail", {}),
            **more,
        }
    )


def _action(scope: Any) -> str:
    handler = scope.get("route_handler")
    name: str = handler.fn.__name__ if handler is not None else "unknown"
    return name


def _target(scope: Any) -> str:
    params: dict[str, Any] = scope.get("path_params") or {}
    return "/".join(str(value).strip("/") for value in params.values())


def _known(scope: Any) -> dict[str, Any]:
    known: dict[str, Any] = scope.setdefault(_HERE, {})
    return known
