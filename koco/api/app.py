"""The application: all routes, and the one place where errors become responses."""

import logging
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import Message, Scope

from koco import __version__, skew
from koco.api import (
    access,
    apps,
    bundles,
    doctor,
    executions,
    files,
    flows,
    locks,
    plan,
    releases,
    secrets,
    services,
    status,
)
from koco.control.doctor import Doctor
from koco.control.parts import Parts
from koco.errors import EndpointError, KocoError, NotFoundError, UsageError

log = logging.getLogger(__name__)

_VERSION = (skew.HEADER.lower().encode(), __version__.encode())


def create_app(parts: Parts) -> Litestar:
    """Return the API of a control plane."""
    return Litestar(
        route_handlers=[
            *apps.ROUTES,
            *bundles.ROUTES,
            *doctor.ROUTES,
            *executions.ROUTES,
            *files.ROUTES,
            *flows.ROUTES,
            *locks.ROUTES,
            *plan.ROUTES,
            *secrets.ROUTES,
            *releases.ROUTES,
            *services.ROUTES,
            *status.ROUTES,
        ],
        state=State({"parts": parts, "doctor": Doctor(parts)}),
        exception_handlers={
            KocoError: _koco_error,
            HTTPException: _http_error,
            RecursionError: _too_deep,
            UnicodeDecodeError: _no_text,
            Exception: _unexpected,
        },
        before_send=[_tell_version],
        openapi_config=None,
        logging_config=None,
        # A megabyte of JSON is a generous launch; bundles are streamed and not counted here.
        request_max_body_size=16 * 1024 * 1024,
    )


async def _tell_version(message: Message, _: Scope) -> None:
    if message["type"] == "http.response.start":
        # Whatever the answer is, an error before any route was found as well.
        message["headers"] = [*message["headers"], _VERSION]


def _koco_error(request: Request[Any, Any, Any], exc: KocoError) -> Response[dict[str, Any]]:
    if isinstance(exc, EndpointError) and not access.is_owner(request):
        hint = access.ABOUT_TRACEBACKS if exc.detail else None
        exc = EndpointError(exc.message, hint=exc.hint or hint)
    # Some say more than a body can: where an upload goes on.
    headers = getattr(exc, "headers", None)
    return Response(exc.to_wire(), status_code=exc.http_status, headers=headers)


def _http_error(request: Request[Any, Any, Any], exc: HTTPException) -> Response[dict[str, Any]]:
    """Put litestar's own refusals (no such route, wrong method, bad body) in our form."""
    error: KocoError
    if exc.status_code == NotFoundError.http_status:
        error = NotFoundError(f"there is nothing at {request.url.path}")
    else:
        extra = exc.extra if isinstance(exc.extra, list) else []
        details = [str(item.get("message", item)) for item in extra if isinstance(item, dict)]
        error = UsageError("; ".join([exc.detail, *details]))
    return Response(error.to_wire(), status_code=exc.status_code, headers=exc.headers)


def _too_deep(request: Request[Any, Any, Any], exc: RecursionError) -> Response[dict[str, Any]]:
    log.warning("%s %s is nested too deeply", request.method, request.url.path)
    error = UsageError("the body is nested too deeply", hint="send what is deep as a text")
    return Response(error.to_wire(), status_code=error.http_status)


def _no_text(request: Request[Any, Any, Any], exc: UnicodeDecodeError) -> Response[dict[str, Any]]:
    log.warning("%s %s is no UTF-8", request.method, request.url.path)
    error = UsageError(f"the body is no UTF-8: {exc}", hint="JSON is sent as UTF-8")
    return Response(error.to_wire(), status_code=error.http_status)


def _unexpected(request: Request[Any, Any, Any], exc: Exception) -> Response[dict[str, Any]]:
    # The traceback is for whoever runs the control plane, never for a caller.
    log.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    error = KocoError(
        "the control plane failed at this", hint="its log (`koco status` says where) has the cause"
    )
    return Response(error.to_wire(), status_code=error.http_status)
