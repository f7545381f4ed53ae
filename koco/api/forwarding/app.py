"""The application of a process that may not lead: it answers what it can, or passes it on."""

import asyncio
from typing import Any

import msgspec

from koco.api.forwarding import proof, rules
from koco.api.forwarding.hop import Hop
from koco.api.http import problem_details, request_id
from koco.api.http.only_leader import Mark
from koco.control.container import Parts
from koco.errors import KocoError, UnreachableError

#: How long a request that was passed on waits for this process to lead (seconds).
_COMING_S = 5.0


def wrap(app: Any, parts: Parts) -> Any:
    """Wrap the whole application of one of several processes."""
    return _Forwarding(app, parts)


class _Forwarding:
    def __init__(self, app: Any, parts: Parts) -> None:
        self._app = app
        self._parts = parts
        self._hop = Hop(parts.leadership)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        was_passed_on = self._take_proof(scope)
        leadership = self._parts.leadership
        if leadership.leads:
            await self._app(scope, receive, send)
        elif was_passed_on:
            if await leadership.comes(_COMING_S):
                await self._app(scope, receive, send)
            else:
                error = UnreachableError(
                    "the process that was to lead does not", hint="try again in a moment"
                )
                await _refuse(scope, send, error)
        elif rules.is_read_here(scope):
            await self._try(scope, receive, send, kept=b"")
        elif rules.is_launched_here(scope, self._parts):
            body = await _read(receive)
            if body is not None:
                await self._try(scope, _again(body, receive), send, kept=body)
        else:
            await self._pass_on(scope, receive, send, kept=None)

    def _take_proof(self, scope: Any) -> bool:
        """Return whether another process has passed a request on, and note who sent it.

        The header is taken away: nobody else may have it.
        """
        found = [value for name, value in scope["headers"] if name == proof.NAME]
        if not found:
            return False
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != proof.NAME]
        sender = proof.read(self._parts.leadership.secret, scope, found[0])
        if sender is None:
            return False
        scope["client"] = (sender.host, sender.port)
        scope["scheme"] = sender.scheme
        return True

    async def _try(self, scope: Any, receive: Any, send: Any, *, kept: bytes) -> None:
        """Answer a request here; if only the leader can, pass it on instead."""
        mark = Mark()
        scope[Mark.KEY] = mark
        is_dropped = False

        async def send_unless(message: Any) -> None:
            nonlocal is_dropped
            is_dropped |= message["type"] == "http.response.start" and mark.is_set
            if not is_dropped:
                await send(message)

        await self._app({**scope}, receive, send_unless)
        if is_dropped:
            await self._pass_on(scope, receive, send, kept=kept)

    async def _pass_on(self, scope: Any, receive: Any, send: Any, *, kept: bytes | None) -> None:
        has_begun = False

        async def send_noting(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._hop.pass_on(scope, receive, send_noting, kept=kept)
        except KocoError as exc:
            await _refuse(scope, send, exc)
        except ConnectionAbortedError:
            return  # the client has gone
        except asyncio.CancelledError:
            raise
        except Exception:
            if not has_begun:
                raise
            # The answer has begun, so all that can be said is that it is not whole.
            raise ConnectionError("the leader went away in the middle of its answer") from None


async def _read(receive: Any) -> bytes | None:
    """Return a small body; None if the client has gone."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _again(body: bytes, receive: Any) -> Any:
    """Return what receives a body that was read already, and then what follows it."""
    is_given = False

    async def receive_again() -> Any:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _refuse(scope: Any, send: Any, error: KocoError) -> None:
    shown = problem_details.problem(error, request=request_id.request_id(scope))
    body = msgspec.json.encode(shown)
    headers = [
        (b"content-type", problem_details.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
    ]
    status = error.http_status
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
