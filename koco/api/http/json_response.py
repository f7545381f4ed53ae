"""Answers in JSON that have no headers or cookies of their own, as most have."""

from typing import Any

from litestar import Response
from litestar.enums import MediaType
from litestar.serialization import default_serializer, encode_json


class JsonResponse(Response[Any]):
    """A response that leaves out what litestar does for headers and cookies if there are none.

    It is what litestar makes of the struct that a route returns.
    """

    __slots__ = ()

    def to_asgi_response(self, app: Any, request: Any, **more: Any) -> Any:
        """Return what sends the response."""
        is_plain = self.media_type == MediaType.JSON and not (self.headers or self.cookies)
        # Texts are sent as they are, and without content there is no body.
        is_value = not isinstance(self.content, str | bytes | None)
        if not (is_plain and is_value) or any(more.values()):
            return super().to_asgi_response(app, request, **more)
        return _Encoded(self.status_code or 200, encode_json(self.content, default_serializer))


class _Encoded:
    """An answer that is encoded."""

    __slots__ = ("_body", "_status")

    def __init__(self, status: int, body: bytes) -> None:
        self._status = status
        self._body = body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self._body)),
        ]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
