"""The endpoint for MCP: all flows of a key at `/mcp`, those of one service at `/mcp/{service}`."""

from collections.abc import AsyncGenerator
from typing import Any

from litestar import Response, get, post
from litestar.handlers.base import BaseRouteHandler

from koco.api.agents.calls import url_of
from koco.api.http import cors, errors
from koco.api.http.auth import Connection, requires
from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.annotations import EVENT_STREAM, JSON, Answer
from koco.control.tracing import arrived
from koco.errors import KocoError, NotAllowedError, UnauthorizedError

_PATH = "/mcp"
_METADATA = "/.well-known/oauth-protected-resource"
_SCOPES = ("read", "launch")
_NO_STORE = {"Cache-Control": "no-store"}

_ANSWERS = {
    200: Answer(
        media={JSON: shapes.Object, EVENT_STREAM: shapes.Object},
        about="the JSON-RPC answer, or a stream of notifications that ends with it",
        is_streamed=True,
    ),
    202: Answer(about="a notification was received"),
    "default": Answer(media={JSON: shapes.Object}, about="a JSON-RPC error"),
}


async def check_origin(connection: Connection, _: BaseRouteHandler) -> None:
    """Refuse pages of other sites (a guard), as the protocol demands."""
    cors.refuse_others(connection)


def answer_refusal(request: Any, error: KocoError) -> Response[Any]:
    """Return the answer to a refused request, with what a client needs to get access."""
    answer: Response[Any] = errors.answer(request, error)
    where = f'resource_metadata="{url_of(request, _METADATA + _PATH)}"'
    if isinstance(error, UnauthorizedError):
        answer.headers["WWW-Authenticate"] = f'Bearer {where}, scope="{" ".join(_SCOPES)}"'
    elif isinstance(error, NotAllowedError):
        missing = 'error="insufficient_scope", scope="launch"'
        answer.headers["WWW-Authenticate"] = f"Bearer {missing}, {where}"
    return answer


#: What both endpoints have in common.
_SHARED: dict[str, Any] = {
    "status_code": 200,
    "guards": [check_origin, requires("read")],
    "reads": True,
    "body": shapes.Object,
    "headers": [idempotency.HEADER, *arrived.HEADERS],
    "answers": _ANSWERS,
    "exception_handlers": {KocoError: answer_refusal},
}


@post(_PATH, **_SHARED)
async def speak_mcp(request: Request) -> Response[Any]:
    """Answer a message of the Model Context Protocol: all flows of the key are tools.

    Revision 2026-07-28 and those of 2025 are spoken. docs/agents.md describes it.
    """
    return await _answer(request, None)


@post(f"{_PATH}/{{service:str}}", **_SHARED)
async def speak_mcp_of_service(request: Request, service: str) -> Response[Any]:
    """Do the same for the flows of one service, which are tools by their short names."""
    return await _answer(request, service)


async def _answer(request: Request, service: str | None) -> Response[Any]:
    # Imported at the first request, because most control planes never need it.
    from koco.api.agents.mcp import asking, messages, methods

    message, ask = messages.Message(), None
    try:
        message = messages.read(await request.body())
        ask = asking.of(request, message, service)
        found = await methods.answer(ask)
    except messages.RpcError as exc:
        is_old = ask is not None and not ask.is_modern
        return _json(messages.error(message.id, exc), 200 if is_old else exc.status)
    if found is None:
        return _json(b"", 202)
    if isinstance(found, AsyncGenerator):
        return LiveStream(request, found, media_type=EVENT_STREAM)
    return _json(messages.result(message.id, found, is_modern=ask.is_modern))


def _json(body: bytes, status: int = 200) -> Response[Any]:
    return Response(body, status_code=status, media_type=JSON, headers=_NO_STORE)


class ProtectedResource(shapes.Shape):
    """The metadata of a protected resource (RFC 9728)."""

    resource: str
    scopes_supported: tuple[str, ...]
    bearer_methods_supported: tuple[str, ...]
    resource_name: str
    resource_documentation: str


@get(f"{_METADATA}{_PATH}")
async def describe_resource(request: Request) -> ProtectedResource:
    """Describe how to get access to the endpoint for MCP: with a key of this control plane.

    There is no authorization server: keys are made with `koco key create`.
    """
    return ProtectedResource(
        resource=url_of(request, _PATH),
        scopes_supported=_SCOPES,
        bearer_methods_supported=("header",),
        resource_name="koco",
        resource_documentation=url_of(request, "/openapi.json"),
    )


ROUTES = (speak_mcp, speak_mcp_of_service, describe_resource)
