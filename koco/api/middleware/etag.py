"""Conditional GET and HEAD: clients do not fetch again an answer that they already have.

It wraps the application, so routes need not know of it. A complete answer to GET gets an `ETag`
made from its bytes. Streams pass through unchanged. An unchanged answer still has to be made; the
saving is in sending and reading it.
"""

import hashlib
import re
from typing import Any

import msgspec
from litestar.datastructures import Headers
from litestar.utils.scope.state import ScopeState

from koco.api.http import problem_details, request_id
from koco.api.middleware import sparse_fields
from koco.api.openapi import annotations
from koco.errors import KocoError

#: Answers of services' own endpoints, which bring their own headers and parameters.
_FORWARDED = "/v1/services/{service}/app"

_TAG = re.compile(r'(?:W/)?("[^"]*")')
#: The headers of the answer that a 304 keeps.
_KEPT = {b"etag", b"vary", b"content-location", b"cache-control", b"date"}
_TAG_BYTES = 12
_JSON = (b"content-type", annotations.JSON.encode())


def wrap(app: Any) -> Any:
    """Wrap an ASGI application so that GET is conditional, and HEAD works for every GET route."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        method = scope.get("method") if scope["type"] == "http" else None
        if method == "GET":
            await app(scope, receive, _Answer(scope, send).send)
        elif method == "HEAD":
            await _head(app, scope, receive, send)
        else:
            await app(scope, receive, send)

    return serve


async def _head(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Answer HEAD by its own route, or else as GET without a body."""
    is_missing = False

    async def unless_missing(message: Any) -> None:
        nonlocal is_missing
        is_missing = is_missing or message.get("status") == 405
        if not is_missing:
            await send(message)

    await app(scope, receive, unless_missing)
    if is_missing:
        # A separate scope, because the server reads the method from the original.
        asked: Any = {**scope, "method": "GET", "headers": list(scope["headers"])}
        # It was not sent. An error could not be answered otherwise.
        ScopeState.from_scope(asked).response_started = False
        await app(asked, receive, _Answer(asked, send, is_bodiless=True).send)
        scope["path_template"] = asked.get("path_template")


class _Answer:
    """One answer to GET on its way out."""

    def __init__(self, scope: Any, send: Any, *, is_bodiless: bool = False) -> None:
        self._scope = scope
        self._send = send
        self._is_bodiless = is_bodiless
        self._held: Any = None
        self._is_done = False

    async def send(self, message: Any) -> None:
        if self._is_done:
            return
        if message["type"] != "http.response.start":
            if self._held is None:
                await self._send(message)
            else:
                await self._send_whole(message)
        elif self._may_be_whole(message):
            self._held = message
        else:
            await self._begin(message)

    def _may_be_whole(self, start: Any) -> bool:
        if start["status"] != 200 or self._is_forwarded:
            return False
        names = {name for name, _ in start["headers"]}
        return b"content-length" in names and b"etag" not in names

    @property
    def _is_forwarded(self) -> bool:
        return str(self._scope.get("path_template", "")).startswith(_FORWARDED)

    async def _send_whole(self, message: Any) -> None:
        """Send the held headers, because the body is here now."""
        start, self._held = self._held, None
        if message.get("more_body"):
            await self._begin(start)
            if not self._is_done:
                await self._send(message)
            return
        body = message.get("body", b"")
        try:
            if _JSON in start["headers"]:
                body = sparse_fields.select(self._scope, body)
        except KocoError as exc:
            start, body = self._make_problem(exc)
        else:
            tag = hashlib.blake2b(body, digest_size=_TAG_BYTES).hexdigest()
            others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            length = (b"content-length", str(len(body)).encode())
            start["headers"] = [*others, length, (b"etag", f'W/"{tag}"'.encode())]
        await self._begin(start)
        if not self._is_done:
            await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _make_problem(self, error: KocoError) -> tuple[Any, bytes]:
        problem = problem_details.problem(error, request=request_id.request_id(self._scope))
        body = msgspec.json.encode(problem)
        headers = [(b"content-type", problem_details.MEDIA_TYPE.encode())]
        headers.append((b"content-length", str(len(body)).encode()))
        start = {"type": "http.response.start", "status": error.http_status, "headers": headers}
        return start, body

    async def _begin(self, start: Any) -> None:
        """Send status and headers. If there is no body, end the answer."""
        if start["status"] == 200 and not self._is_forwarded and self._is_known(start["headers"]):
            kept = [(name, value) for name, value in start["headers"] if name in _KEPT]
            start = {**start, "status": 304, "headers": kept}
        await self._send(start)
        if self._is_bodiless or start["status"] == 304:
            self._is_done = True
            # After this the server tells a streaming route that its reader has disconnected.
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _is_known(self, headers: Any) -> bool:
        """Whether `If-None-Match` has an answer's tag, by weak comparison."""
        asked = Headers.from_scope(self._scope).getall("if-none-match", [])
        tag = next((value.decode("latin-1") for name, value in headers if name == b"etag"), None)
        if not asked or tag is None:
            return False
        given = ", ".join(asked)
        return given.strip() == "*" or tag.removeprefix("W/") in _TAG.findall(given)
