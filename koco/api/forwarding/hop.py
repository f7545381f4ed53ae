"""Passes a request on to the leader, and its answer back, in pieces."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx

from koco.api.forwarding import proof
from koco.control.leadership import Leadership
from koco.errors import KocoError, UnreachableError

#: Headers that are about one connection (RFC 9110, section 7.6.1), and what is made anew.
_OF_CONNECTION = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade", proof.NAME),
    }
)
#: Methods that may be repeated.
_SAFE = ("GET", "HEAD", "OPTIONS")
#: How long an idle connection is kept (seconds), which is less than the leader keeps it.
_IDLE_S = 30.0
#: How long a request is repeated while the leader changes (seconds), and the pause in between.
_PATIENCE_S, _AGAIN_S = 15.0, 0.1


class PassedOnError(KocoError):
    """The leader went away while it had the request."""

    http_status = 503
    code = "leader_lost"


class Hop:
    """Connections to whichever process leads."""

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._client = httpx.AsyncClient(
            verify=_trusting(leadership.tls_cert),
            timeout=httpx.Timeout(None, connect=5.0),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=_IDLE_S),
            follow_redirects=False,
            trust_env=False,
        )

    async def pass_on(self, scope: Any, receive: Any, send: Any, *, kept: bytes | None) -> None:
        """Pass a request on and send its answer. `kept` is its body, if that was read already.

        Raises:
            UnreachableError: no process leads.
            PassedOnError: the leader went away, and the request may have been carried out.
        """
        body = _Body(receive, kept)
        answer = await self._answered(scope, body)
        try:
            gone = asyncio.create_task(body.disconnected())
            sending = asyncio.create_task(_send(answer, send))
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
            for each in (gone, sending):
                each.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        finally:
            await answer.aclose()

    async def _answered(self, scope: Any, body: "_Body") -> httpx.Response:
        """Return the leader's answer, of which the head has arrived."""
        until_s = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            request = await self._request(scope, body)
            try:
                return await self._client.send(request, stream=True)
            except httpx.TransportError as exc:
                was_sent = not isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout)
                if was_sent and not (body.is_whole and _is_repeatable(scope)):
                    raise PassedOnError(
                        "the process that leads went away while it had this request",
                        hint="it may have been carried out: look before you repeat it, or send an"
                        " `Idempotency-Key` with it",
                    ) from exc
                if asyncio.get_running_loop().time() > until_s:
                    raise UnreachableError(
                        f"the process of the control plane that leads does not answer: {exc}"
                    ) from exc
                self._leadership.forget()
            await asyncio.sleep(_AGAIN_S)

    async def _request(self, scope: Any, body: "_Body") -> httpx.Request:
        url = await self._leadership.url()
        target = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        headers = [pair for pair in scope["headers"] if pair[0].lower() not in _OF_CONNECTION]
        headers.append((proof.NAME, proof.make(self._leadership.secret, scope)))
        content = await body.content()
        return httpx.Request(
            scope["method"],
            httpx.URL(url).copy_with(raw_path=target),
            headers=headers,
            content=content,
        )


class _Body:
    """The body of a request: whole if it came in one piece, else in pieces."""

    def __init__(self, receive: Any, kept: bytes | None) -> None:
        self._receive = receive
        self._first = kept
        #: Whether all of it is here, so that it can be sent again.
        self.is_whole = kept is not None

    async def content(self) -> "bytes | AsyncIterator[bytes]":
        if self._first is None:
            message = await self._receive()
            self._first = message.get("body", b"")
            self.is_whole = not message.get("more_body", False)
        return self._first if self.is_whole else self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self._first or b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError("the client disconnected")
            if piece := message.get("body", b""):
                yield piece
            if not message.get("more_body", False):
                return

    async def disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _send(answer: httpx.Response, send: Any) -> None:
    headers = [
        (name.lower(), value)
        for name, value in answer.headers.raw
        if name.lower() not in _OF_CONNECTION
    ]
    start = {"type": "http.response.start", "status": answer.status_code, "headers": headers}
    await send(start)
    async for piece in answer.aiter_raw():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _is_repeatable(scope: Any) -> bool:
    has_key = any(name.lower() == b"idempotency-key" for name, _ in scope["headers"])
    return scope["method"] in _SAFE or has_key


def _trusting(tls_cert: str | None) -> ssl.SSLContext | bool:
    """Return what trusts this control plane's certificate, whatever its names are, and no other."""
    if not tls_cert:
        return False  # it is not used
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(tls_cert)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
