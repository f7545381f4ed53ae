"""Write requests to the audit log.

The log has every change, done or refused, and every refusal because of a missing key or scope. It
has no reads. Routes need not call it: actor, action, target and outcome follow from the request. A
route that knows more adds it with `add`.
"""

import logging
from typing import Any

import msgspec

from koco import tokens
from koco.api.http import cookies, passing, problem_details, proxy, request_id
from koco.api.http.auth import Connection
from koco.api.http.request import Request
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.errors import KocoError
from koco.store.model import AuditEntry

log = logging.getLogger(__name__)

#: Actions of Kodosumi's API that only prepare an upload. There may be thousands for one file.
_PREPARING = ("begin_batch", "begin_upload", "add_chunk")
#: Actions that use a method for changes, but change nothing.
_READING = frozenset(("make_plan", "examine", *_PREPARING))
#: Refusals that are always logged: no key, no scope, too many attempts without one.
_REFUSED = frozenset((401, 403, 429))
_HERE = "koco.audit"


class _Notes(msgspec.Struct):
    """The details of a request that only its route knows."""

    who: str = ""
    #: What it does, if that does not follow from its route.
    action: str = ""
    target: str = ""
    detail: dict[str, Any] = {}
    #: The code of the error that refuses it.
    code: str = ""
    #: Whether the store writes its entry, with an execution.
    is_written: bool = False
    #: The body to send instead of the answer's, because the entry could not be written.
    body: bytes | None = None


def add(
    connection: Connection, *, who: str = "", action: str = "", target: str = "", **detail: Any
) -> None:
    """Add details to the audit entry of a request.

    A route with `reads=True` only has an entry if it adds its `action`.
    """
    notes = _notes(connection.scope)
    notes.action = action or notes.action
    notes.detail = {**notes.detail, **detail}
    notes.who, notes.target = who or notes.who, target or notes.target


def launch_entry(request: Request, **detail: Any) -> AuditEntry:
    """Return the entry that the store writes when it creates an execution.

    The request then gets no second entry, unless it is refused.
    """
    _notes(request.scope).is_written = True
    action = _action(request.scope)
    # These forward a request to a service's endpoint, which is a launch if it answers with one.
    action = "launch" if action in ("act", "look") else action
    return _entry(request.scope, "ok", action, detail)


def note_code(connection: Connection, code: str) -> None:
    """Note the code of the error that refuses a request, whatever the status of its answer."""
    _notes(connection.scope).code = code


async def record(message: Any, scope: Any) -> None:
    """Log the request before it is answered: the application's `before_send`.

    If the request changed something and the entry cannot be written, the answer is that failure.
    """
    notes = _notes(scope)
    if message["type"] == "http.response.body" and notes.body is not None:
        message["body"], notes.body = notes.body, b""
    if message["type"] != "http.response.start" or not _is_logged(scope, message["status"]):
        return
    status = message["status"]
    parts: Parts = scope["app"].state.parts
    outcome = notes.code or ("ok" if status < 400 else f"http_{status}")
    entry = _entry(scope, outcome, _action(scope), notes.detail)
    try:
        await parts.audit.note(entry)
    except KocoError as exc:
        log.exception("done, and the audit log could not be written: %s", entry)
        _replace_answer(message, scope, exc)


def _replace_answer(message: Any, scope: Any, error: KocoError) -> None:
    error.message = f"it is done, but is not in the audit log: {error.message}"
    body = msgspec.json.encode(problem_details.problem(error, request=request_id.request_id(scope)))
    headers = {"content-type": problem_details.MEDIA_TYPE, "content-length": str(len(body))}
    message["status"] = error.http_status
    message["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    message["headers"].append((b"retry-after", b"1"))
    _notes(scope).body = body


def _is_logged(scope: Any, status: int) -> bool:
    if scope["type"] != "http" or passing.is_wanted(scope):
        return False
    caller, notes = scope.get("auth"), _notes(scope)
    if not isinstance(caller, Caller):
        return status in _REFUSED or bool(notes.who)
    if not caller.name:
        return False  # public routes of a service: its own business
    if status < 400 and not notes.code and (notes.is_written or caller.fid is not None):
        return False  # the flow's events already show its own files
    return status == 403 or _is_change(scope)


def _is_change(scope: Any) -> bool:
    """Whether a request would change something."""
    if _notes(scope).action:
        return True
    handler = scope.get("route_handler")
    reads = handler is not None and handler.opt.get("reads")
    return not reads and scope["method"] not in cookies.SAFE and _action(scope) not in _READING


def _entry(scope: Any, outcome: str, action: str, detail: dict[str, Any]) -> AuditEntry:
    caller, notes = scope.get("auth"), _notes(scope)
    if not isinstance(caller, Caller):
        caller = Caller(name="", address=proxy.address(scope))
    return AuditEntry(
        action=action,
        who=notes.who or caller.name,
        credential=caller.credential,
        # A path may contain a key that was meant for another place.
        target=tokens.mask_all(notes.target or _target(scope)),
        outcome=outcome,
        address=caller.address,
        request=request_id.request_id(scope),
        detail=detail,
    )


def _action(scope: Any) -> str:
    if action := _notes(scope).action:
        return action
    handler = scope.get("route_handler")
    name: str = handler.fn.__name__ if handler is not None else "unknown"
    return name


def _target(scope: Any) -> str:
    return "/".join(str(value).strip("/") for value in (scope.get("path_params") or {}).values())


def _notes(scope: Any) -> _Notes:
    notes: _Notes = scope.setdefault(_HERE, _Notes())
    return notes
