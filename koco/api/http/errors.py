"""Turn errors into answers: problem details for HTTP APIs (RFC 9457). Only this module does so."""

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from koco.api.http import audit, auth, passing, problem_details, request_id
from koco.api.openapi.shapes import Problem
from koco.control.leadership import OnlyLeaderError
from koco.errors import (
    EndpointError,
    HandlerRefusal,
    KocoError,
    LimitError,
    MediaTypeError,
    MethodError,
    NotFoundError,
    UsageError,
)
from koco.store.errors import StoreError

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]

#: When to retry if an error does not say (seconds).
_RETRY_S = 1

#: litestar's name for the whole body: its handler's parameter.
_WHOLE = "data"

#: litestar's message if a client disconnects in the middle of a body. It counts that as a server
#: error.
_GONE = "client disconnected prematurely"


def answer(request: AnyRequest, error: KocoError, *, place: str | None = None) -> Response[Problem]:
    """Return an error as an answer. `place` is the JSON pointer of the value that it is about."""
    if isinstance(error, EndpointError) and not auth.is_owner(request):
        hint = auth.ABOUT_TRACEBACKS if error.detail else None
        error = EndpointError(error.message, hint=error.hint or hint)
    if isinstance(error, StoreError) and not auth.is_admin(request):
        error = _about_store(request, error)
    if isinstance(error, OnlyLeaderError):
        passing.want(request.scope)
    audit.note_code(request, error.code)
    # Some errors need headers: for an upload, the offset to continue from.
    headers = dict(getattr(error, "headers", None) or {})
    if error.http_status in (429, 503):
        headers.setdefault("Retry-After", str(_RETRY_S))
    # A handler's own 401 is not about the caller's key.
    if error.http_status == 401 and not isinstance(error, HandlerRefusal):
        headers.setdefault("WWW-Authenticate", "Bearer")
    return Response(
        problem_details.problem(error, request=request_id.request_id(request.scope), place=place),
        status_code=error.http_status,
        headers=headers,
        media_type=problem_details.MEDIA_TYPE,
    )


def _about_store(request: AnyRequest, error: StoreError) -> StoreError:
    """Return an error without the place of the store, which is the operators' business."""
    found = request_id.request_id(request.scope)
    log.warning("%s %s failed (request %s): %s", request.method, request.url.path, found, error)
    return type(error)(
        "the control plane's store does not answer, or refuses",
        hint="try again in a while; control.log in the control plane's data directory says why, and"
        " so does `koco up` on the head",
    )


def answer_refusal(request: AnyRequest, exc: HTTPException) -> Response[Problem]:
    """Put litestar's own refusals (no such route, wrong method, bad body) into our form."""
    error: KocoError
    if exc.status_code == 404:
        error = NotFoundError(f"there is nothing at {request.url.path}")
    elif exc.status_code == 405:
        allow = request_id.allow_header((exc.headers or {}).get("allow", ""))
        what = f"there is no {request.method} at {request.url.path}"
        error = MethodError(what, hint=f"there is: {allow}", allow=allow)
    elif exc.status_code == 413:
        error = LimitError("the body is larger than may be sent here")
    elif exc.status_code == 415:
        error = MediaTypeError(exc.detail)
    elif exc.detail == _GONE:
        error = UsageError("the client disconnected before the end of the body")
    elif exc.status_code < 500:
        extra = exc.extra if isinstance(exc.extra, list) else []
        items = [item for item in extra if isinstance(item, dict)]
        error = UsageError("; ".join(map(_detail, items)) or exc.detail)
        keys = [item["key"] for item in items if item.get("source") == "body"]
        place = problem_details.pointer(f".{keys[0]}") if keys and keys[0] != _WHOLE else None
        return answer(request, error, place=place)
    else:
        return answer_unexpected(request, exc)
    return answer(request, error)


def answer_too_deep(request: AnyRequest, _: RecursionError) -> Response[Problem]:
    """Refuse a body that is nested too deeply for a JSON reader."""
    log.warning("%s %s is nested too deeply", request.method, request.url.path)
    error = UsageError("the body is nested too deeply", hint="send the deep part as a text")
    return answer(request, error)


def answer_not_text(request: AnyRequest, exc: UnicodeDecodeError) -> Response[Problem]:
    """Refuse a body that is not valid text."""
    log.warning("%s %s is not UTF-8", request.method, request.url.path)
    error = UsageError(f"the body is not UTF-8: {exc}", hint="JSON is sent as UTF-8")
    return answer(request, error)


def answer_unexpected(request: AnyRequest, exc: Exception) -> Response[Problem]:
    """Answer an unexpected error without revealing its cause."""
    # The traceback is for the operator of the control plane, never for a caller.
    found = request_id.request_id(request.scope)
    log.error("%s %s failed (request %s)", request.method, request.url.path, found, exc_info=exc)
    error = KocoError(
        "the control plane failed at this", hint="its log (`koco status` says where) has the cause"
    )
    return answer(request, error)


#: The handler of each exception that becomes an answer.
HANDLERS: dict[Any, Any] = {
    KocoError: answer,
    HTTPException: answer_refusal,
    RecursionError: answer_too_deep,
    UnicodeDecodeError: answer_not_text,
    Exception: answer_unexpected,
}


def _detail(item: dict[str, Any]) -> str:
    """Return one of litestar's validation errors, with its place."""
    text = str(item.get("message", item))
    key = item.get("key")
    if key == _WHOLE:
        return "the body is missing" if text == f"'{_WHOLE}'" else f"the body: {text}"
    return f"{key}: {text}" if key and item.get("source") else text
