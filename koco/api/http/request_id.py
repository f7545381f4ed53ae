"""Headers that every answer has, whatever the request: the request's id and koco's version."""

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from litestar.exceptions import MethodNotAllowedException

from koco import __version__, versions
from koco.control import log_file
from koco.control.tracing import arrived

#: Called when an answer begins, with the request's scope, the status and the time of its start.
Observe = Callable[[Any, int, float], None]

#: The header with the request's id, in requests and in answers.
REQUEST_ID = "X-Request-ID"

#: Answers below these paths are private to the caller, so no shared cache may keep them.
_PRIVATE = ("/v1", "/mip003/", "/sumi")
_NO_STORE = (b"cache-control", b"no-store")

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ID_HEADER = REQUEST_ID.lower().encode()
_SCOPE_KEY = "koco.request"
_VERSION = (versions.HEADER.lower().encode(), __version__.encode())


def request_id(scope: Any) -> str:
    """Return the id of a connection's request."""
    return str(scope.get(_SCOPE_KEY, ""))


def own_or_new(scope: Any) -> bytes:
    """Return the client's own id for a request if it is valid, or else a new one."""
    return _own_id(scope) or secrets.token_hex(8).encode()


def allow_header(methods: str) -> str:
    """Return the value of `Allow`. A path with GET also has HEAD."""
    found = {name.strip() for name in methods.split(",") if name.strip()}
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))


def wrap(app: Any, observe: Observe) -> Any:
    """Wrap an ASGI application so that all answers carry the request's id and koco's version."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began = time.perf_counter()
        found = own_or_new(scope)
        scope[_SCOPE_KEY] = found.decode()
        log_file.request.set(scope[_SCOPE_KEY])
        arrived.current.set(arrived.read(scope["headers"]))

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                # For every answer, even an error from before any route was found.
                headers = [*message["headers"], _VERSION, (_ID_HEADER, found)]
                message["headers"] = _complete(scope, headers)
                observe(scope, message["status"], began)
            await send(message)

        await app(scope, receive, send_with_headers)

    return serve


def _complete(scope: Any, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers together with those that follow from the request."""
    if scope["method"] == "OPTIONS":
        # litestar's own value has only the methods of the first route at this path.
        headers = [(n, _methods(scope).encode() if n == b"allow" else v) for n, v in headers]
    if scope["path"].startswith(_PRIVATE) and all(name != b"cache-control" for name, _ in headers):
        headers = [*headers, _NO_STORE]
    return headers


def _methods(scope: Any) -> str:
    """Return the value of `Allow` for an existing path."""
    try:
        scope["litestar_app"].asgi_router.handle_routing(path=scope["path"], method="none")
    except MethodNotAllowedException as exc:
        return allow_header((exc.headers or {}).get("allow", ""))
    return "OPTIONS"


def _own_id(scope: Any) -> bytes | None:
    """Return the client's own id for the request if it is valid."""
    for name, value in scope["headers"]:
        if name == _ID_HEADER:
            return bytes(value) if _ID.fullmatch(value) else None
    return None
