"""The layer around the API of one of several processes: it answers here, or has the leader answer.

A request that another process has passed on is answered here, or refused if this process does not
lead: it is never passed on again.
"""

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from koco.api.forwarding import proof, rules
from koco.api.forwarding.body import Body
from koco.api.forwarding.hop import KEPT_BYTES, NOT_LEADER, Hop
from koco.api.http import passing, problem_details, request_id
from koco.control.container import Parts
from koco.control.leadership import OnlyLeaderError
from koco.errors import KocoError, UsageError
from koco.sizes import MB

log = logging.getLogger(__name__)

_ERROR = "koco.error"
#: How long a request that was passed on waits for this process to lead (seconds).
_COMING_S = 5.0

#: Wraps an ASGI application.
Wrap = Callable[[Any], Any]


def wrap(app: Any, parts: Parts, *, trust: Wrap, refusing: Any) -> Any:
    """Wrap an ASGI application for one of several processes.

    `trust` is the layer that finds out about the client, which the process has done that passes a
    request on. `refusing` is `refuse` with the layers that complete its answers.
    """
    leadership = parts.leadership
    trusted = trust(_Following(app, parts, refusing))

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        values = [value for name, value in scope["headers"] if name == proof.NAME]
        if scope["type"] != "http" or not values:
            await trusted(scope, receive, send)
            return
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != proof.NAME]
        sender = proof.read(leadership.secret, scope, values[0])
        if sender is None:  # somebody else has made it up
            await trusted(scope, receive, send)
            return
        scope["client"], scope["scheme"] = (sender.host, sender.port), sender.scheme
        if await leadership.comes(_COMING_S):
            await app(scope, receive, send)
        else:
            error = OnlyLeaderError("this process does not lead any more", hint="try again")
            await refusing(_failed(scope, error), receive, send)

    return serve


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request with the error in its scope: an ASGI application."""
    error: KocoError = scope[_ERROR]
    problem = problem_details.problem(error, request=request_id.request_id(scope))
    body = msgspec.json.encode(problem)
    headers = [
        (b"content-type", problem_details.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    if error.http_status == 503:
        headers.append((b"retry-after", b"1"))
    if isinstance(error, OnlyLeaderError):
        headers.append((NOT_LEADER, b"1"))
    start = {"type": "http.response.start", "status": error.http_status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _failed(scope: Any, error: KocoError) -> Any:
    scope[_ERROR] = error
    return scope


class _Following:
    """Answers what this process can, and passes the rest on, until it leads."""

    def __init__(self, app: Any, parts: Parts, refusing: Any) -> None:
        self._app = app
        self._parts = parts
        self._refusing = refusing
        self._hop = Hop(parts.leadership)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Any other target would change where the request goes.
        if self._parts.leadership.leads or not scope["raw_path"].startswith(b"/"):
            await self._app(scope, receive, send)
            return
        is_here = rules.has(self._parts, scope)
        kept_bytes = self._parts.settings.max_body_mb * MB if is_here else KEPT_BYTES
        body = Body(receive, kept_bytes=kept_bytes)
        fresh = dict(scope)
        if is_here and await self._answer_here(scope, body, send):
            return
        # Whoever answers logs and counts it.
        passing.allow(scope)
        passing.want(scope)
        body.restart()
        try:
            headers = self._headers(scope)
            is_answered = await self._hop.answer(scope, body, send, headers=headers)
        except KocoError as exc:
            await self._refusing(_failed(scope, exc), receive, send)
            return
        if not is_answered:
            # In place, because the audit log reads from this one what the layers have noted.
            scope.clear()
            scope.update(fresh)
            body.restart()
            await self._app(scope, body.receive, send)

    async def _answer_here(self, scope: Any, body: Body, send: Any) -> bool:
        """Answer a request; False if only the leader can. Nothing was done then."""
        state = passing.allow(scope)

        async def send_unless_passed_on(message: Any) -> None:
            if not state.is_wanted:
                await send(message)

        await self._app(scope, body.receive, send_unless_passed_on)
        return not state.is_wanted

    def _headers(self, scope: Any) -> list[tuple[bytes, bytes]]:
        """Return the headers of a request that is passed on, with its id and its origin.

        Raises:
            UsageError: one is not text.
        """
        found = request_id.own_or_new(scope)
        name = request_id.REQUEST_ID.lower().encode()
        scope["headers"] = [*(pair for pair in scope["headers"] if pair[0] != name), (name, found)]
        for key, value in scope["headers"]:
            try:
                value.decode()
            except UnicodeDecodeError as exc:
                raise UsageError(f"the header {key.decode('latin-1')[:80]!r} is not UTF-8") from exc
        return [*scope["headers"], (proof.NAME, proof.make(self._parts.leadership.secret, scope))]
