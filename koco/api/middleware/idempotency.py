"""`Idempotency-Key`: what creates something does it once for each key, and answers as it did.

Launches keep theirs with the execution (`koco.control.executions.launcher`). For the rest the reply
is kept in the store for a day; and in memory only, for a minute, where the request or the reply
has a secret: nothing of it, not even a digest, is written down. A refusal is not kept: what
was wrong may be mended, and sent again under the same key.
"""

import asyncio
import functools
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec
from litestar import Request, Response

from koco.api.middleware import body_limit
from koco.api.openapi.annotations import JSON
from koco.control.container import Parts
from koco.control.executions.launcher import KEY_LENGTH
from koco.errors import ConflictError, UsageError
from koco.store.model import Reply

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])

#: The header's name; routes tell the API's document of it by `headers=[HEADER]`.
HEADER = "Idempotency-Key"

#: How long what has a secret is remembered (seconds).
_SECRET_S = 60.0


def keyed(*, has_secret: bool = False) -> Callable[[Handler], Handler]:
    """Return a decorator, to stand below a route's, by which a handler takes idempotency keys.

    The handler needs a parameter `request`.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def once(**asked: Any) -> Any:
            request = asked["request"]
            if HEADER.lower() not in request.headers:
                return await handler(**asked)
            replies: Replies = request.app.state.replies
            return await replies.once(request, lambda: handler(**asked), has_secret=has_secret)

        return once  # type: ignore[return-value]

    return decorate


class Replies:
    """What was answered to requests with idempotency keys."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._secret: dict[tuple[str, str], Reply] = {}
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def once(
        self,
        request: Request[Any, Any, Any],
        handle: Callable[[], Awaitable[Any]],
        *,
        has_secret: bool,
    ) -> Any:
        """Return the answer to a request, which is handled unless that was done before.

        Of two at once, the second waits for the first.

        Raises:
            UsageError: the key is none.
            ConflictError: it was used for something else.
        """
        user, key = request.auth.name, request.headers[HEADER]
        if not 1 <= len(key) <= KEY_LENGTH or not (key.isascii() and key.isprintable()):
            raise UsageError(f"an idempotency key has 1 to {KEY_LENGTH} printable characters")
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
                hint="take a new key for each thing that is to be done",
            )
        headers = {"Location": known.location} if known.location else {}
        return Response(known.body, status_code=known.status, media_type=JSON, headers=headers)

    async def _known(self, user: str, key: str) -> Reply | None:
        oldest = time.time() - _SECRET_S
        self._secret = {at: each for at, each in self._secret.items() if each.created >= oldest}
        return self._secret.get((user, key)) or await self._parts.store.reply(user, key)

    async def _keep(
        self, request: Any, key: str, digest: str, answer: Any, *, has_secret: bool
    ) -> None:
        is_response = isinstance(answer, Response)
        reply = Reply(
            user=request.auth.name,
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
            await self._parts.store.keep_reply(reply)


async def _digest(request: Request[Any, Any, Any]) -> str:
    """Return what tells one request from another."""
    scope = request.scope
    parts = (request.method.encode(), scope["raw_path"], scope["query_string"])
    assert isinstance(request, body_limit.Request)
    # It may be a service's own route that is asked: what is not JSON is not for us to judge.
    return hashlib.sha256(b"\0".join((*parts, await request.octets()))).hexdigest()
