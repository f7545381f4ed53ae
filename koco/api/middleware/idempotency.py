"""`Idempotency-Key`: create something once for each key, and repeat the first answer.

Launches keep their key with the execution (`koco.control.executions.launcher`). For other requests
the store keeps the reply for a day. If the request or the reply has a secret, the reply is kept
only in memory, for a minute: no part of it, not even a digest, is written to disk. Refusals are
not kept, because the client may fix the mistake and retry with the same key.
"""

import asyncio
import functools
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec
from litestar import Response

from koco.api.http.request import Request
from koco.api.openapi.annotations import JSON
from koco.control.container import Parts
from koco.control.executions.launcher import KEY_LENGTH
from koco.errors import ConflictError, UsageError
from koco.store.model import Reply

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])

#: The header's name. Routes add it to the OpenAPI document with `headers=[HEADER]`.
HEADER = "Idempotency-Key"

#: How long replies with a secret are kept (seconds).
_SECRET_S = 60.0


def keyed(*, has_secret: bool = False) -> Callable[[Handler], Handler]:
    """Return a decorator that makes a handler accept idempotency keys. Put it below the route's.

    The handler needs a parameter `request`.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def once(**arguments: Any) -> Any:
            request = arguments["request"]
            if HEADER.lower() not in request.headers:
                return await handler(**arguments)
            replies: Replies = request.app.state.replies
            return await replies.once(request, lambda: handler(**arguments), has_secret=has_secret)

        return once  # type: ignore[return-value]

    return decorate


class Replies:
    """The replies to requests with idempotency keys."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._secret: dict[tuple[str, str], Reply] = {}
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def once(
        self,
        request: Request,
        handle: Callable[[], Awaitable[Any]],
        *,
        has_secret: bool,
    ) -> Any:
        """Return the reply to a request. Only the first request with a key is handled.

        If two arrive at once, the second waits for the first.

        Raises:
            UsageError: the key is not valid.
            ConflictError: the key was used for another request.
        """
        # Not the name alone: the next key of that name must not get a former one's secrets.
        user, key = request.auth.owner, checked(request.headers[HEADER])
        digest = await _digest(request)
        async with self._turns.setdefault((user, key), asyncio.Lock()):
            known = await self._known(user, key)
            if known is None:
                answer = await handle()
                await self._keep(request, key, digest, answer, has_secret=has_secret)
                return answer
        if known.digest != digest:
            raise ConflictError(
                f"the idempotency key {key[:80]!r} was used for another request",
                hint="use a new key for each new request",
            )
        headers = {"Location": known.location} if known.location else {}
        return Response(known.body, status_code=known.status, media_type=JSON, headers=headers)

    async def _known(self, user: str, key: str) -> Reply | None:
        oldest = time.time() - _SECRET_S
        self._secret = {at: each for at, each in self._secret.items() if each.created >= oldest}
        return self._secret.get((user, key)) or await self._parts.store.replies.find(user, key)

    async def _keep(
        self, request: Any, key: str, digest: str, answer: Any, *, has_secret: bool
    ) -> None:
        is_response = isinstance(answer, Response)
        reply = Reply(
            user=request.auth.owner,
            key=key,
            digest=digest,
            status=answer.status_code if is_response else request.route_handler.status_code,
            body=msgspec.json.encode(answer.content if is_response else answer),
            location=answer.headers.get("Location", "") if is_response else "",
            created=time.time(),
        )
        if has_secret:
            self._secret[reply.user, key] = reply
        else:
            await self._parts.store.replies.put(reply)


def checked(key: str) -> str:
    """Return an idempotency key. Raises UsageError if it is not valid."""
    if not 1 <= len(key) <= KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise UsageError(f"an idempotency key has 1 to {KEY_LENGTH} printable characters")
    return key


async def _digest(request: Request) -> str:
    """Return a digest that identifies a request."""
    scope = request.scope
    parts = (request.method.encode(), scope["raw_path"], scope["query_string"])
    # The request may be for a service's own route, so a body that is not JSON is fine.
    return hashlib.sha256(b"\0".join((*parts, await request.octets()))).hexdigest()
