"""Pass requests on to the leader, and its answers back, as they come.

A request is sent again to the next leader only if that does no harm: if none of it was sent, or if
its method is safe or it has an idempotency key. Its body must still be kept for that.
"""

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from koco.api.forwarding import proof
from koco.api.forwarding.body import Body, ClientGoneError
from koco.control.leadership import LeaderLostError, Leadership
from koco.control.tasks import Tasks
from koco.errors import KocoError, UnreachableError
from koco.sizes import KB

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

#: The header of an answer that says: this process does not lead, and did nothing.
NOT_LEADER = b"koco-not-leader"
#: How long a leader is looked for, or the next one (seconds).
_PATIENCE_S = 15.0
#: The pause before another attempt, and between two looks for another leader (seconds).
_AGAIN_S, _LOOK_S = 0.1, 0.5
#: How long a connection may take (seconds).
_CONNECT_S = 3.0
#: How long an idle connection is kept (seconds): less than the leader keeps it, which would
#: otherwise close it while a request is on its way.
_IDLE_S = 30.0
#: How much of a body is kept so that it can be sent again (bytes).
KEPT_BYTES = 64 * KB
#: How much of an answer is read ahead of the client (bytes).
_AHEAD_BYTES = 64 * KB
#: The longest line of an answer's head, and the longest header (bytes).
_LINE_BYTES = 1000 * KB

_SAFE = ("GET", "HEAD", "OPTIONS")
_HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    )
)
#: What the server of this process answers itself.
_NOT_SENT = _HOP_BY_HOP | {b"expect"}
_NOT_ANSWERED = _HOP_BY_HOP | {b"date"}
#: Characters that a target may have as they are.
_TARGET = "".join(map(chr, range(0x21, 0x7F)))


class _UntouchedError(Exception):
    """The request has not been carried out, not even in part."""


class _BrokenError(Exception):
    """The connection broke, and the request may have been carried out."""


class _Attempt:
    """A request that waits for the leader at a URL, or gets its answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.timeout = asyncio.timeout(None)
        self.is_client_gone = False
        #: Whether some of the answer has been passed back.
        self.has_begun = False

    def cut(self) -> None:
        """End it, wherever it waits."""
        self.timeout.reschedule(asyncio.get_running_loop().time())

    def client_is_gone(self) -> None:
        """End it, because nobody waits for its answer."""
        self.is_client_gone = True
        self.cut()


class Hop:
    """The leader's API, as clients of this process reach it."""

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._trusted: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None
        self._tasks = Tasks("requests to the leader")
        self._open: set[_Attempt] = set()

    async def answer(
        self, scope: Any, body: Body, send: Any, *, headers: list[tuple[bytes, bytes]]
    ) -> bool:
        """Have the leader answer a request; False if this process has come to lead meanwhile.

        `headers` are those of the request. If the answer breaks off, the client's connection has
        to be closed, and the client learns that it is incomplete.

        Raises:
            UnreachableError: no leader is reached, and nothing was done.
            LeaderLostError: it has ended meanwhile, and the request must not be repeated.
        """
        is_safe = scope["method"] in _SAFE or any(n == b"idempotency-key" for n, _ in headers)
        until_s = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            url = await self._leadership.url()
            if self._leadership.leads:
                return False
            try:
                await self._try(url, scope, body, send, headers)
            except (_UntouchedError, _BrokenError) as exc:
                is_untouched = isinstance(exc, _UntouchedError)
                is_late = asyncio.get_running_loop().time() > until_s
                if is_late or not body.is_kept or not (is_untouched or is_safe):
                    raise _failure(is_untouched=is_untouched) from exc
            else:
                return True
            body.restart()
            self._leadership.forget()
            await asyncio.sleep(_AGAIN_S)

    async def _try(
        self, url: str, scope: Any, body: Body, send: Any, headers: list[tuple[bytes, bytes]]
    ) -> None:
        attempt = _Attempt(url)
        self._open.add(attempt)
        watching = asyncio.create_task(_watch_client(body, attempt))
        try:
            async with attempt.timeout:
                await self._exchange(attempt, scope, body, send, headers)
        except ClientGoneError:
            return
        except (OSError, TimeoutError) as exc:
            if attempt.is_client_gone:
                return
            if not attempt.has_begun:
                raise _BrokenError from exc
            log.info("an answer of the leader broke off: %r", exc)
        finally:
            watching.cancel()
            self._open.discard(attempt)

    async def _exchange(
        self,
        attempt: _Attempt,
        scope: Any,
        body: Body,
        send: Any,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        import aiohttp  # only processes that do not lead need it
        from yarl import URL

        given = _without_hops(headers, _NOT_SENT)
        has_body = any(n in (b"content-length", b"transfer-encoding") for n, _ in headers)
        if not has_body:
            await body.arrive()
        try:
            answer = await self._connections().request(
                scope["method"],
                URL(attempt.url + _target(scope), encoded=True),
                headers=[(name.decode(), value.decode()) for name, value in given],
                data=body.pieces() if has_body else None,
                allow_redirects=False,
                ssl=self._trust(),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            self._trusted = None  # the certificate may have been renewed
            raise _UntouchedError from exc
        except aiohttp.ClientError as exc:
            raise ClientGoneError if body.is_client_gone else _BrokenError from exc
        try:
            await _pass_back(attempt, answer, send)
        except aiohttp.ClientError as exc:
            raise OSError(str(exc)) from exc
        finally:
            # It goes back to the pool if all of the answer was read, and the body was sent.
            answer.release() if answer.content.at_eof() else answer.close()

    # connections

    def _connections(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                read_bufsize=_AHEAD_BYTES,
                max_line_size=_LINE_BYTES,
                max_field_size=_LINE_BYTES,
            )
            # It repeats some methods by itself, also if the body cannot be sent again.
            self._session._retry_connection = False
            self._tasks.keep(self._watch)
        return self._session

    def _trust(self) -> ssl.SSLContext | bool:
        """Return what trusts the certificate of this control plane, and no other one."""
        if self._leadership.tls_cert is None:
            return True  # there is no TLS
        if self._trusted is None:
            self._trusted = _context_for(Path(self._leadership.tls_cert).read_text())
        return self._trusted

    async def _watch(self) -> None:
        """End requests to a process that another one has succeeded: it may never answer."""
        try:
            while True:
                await asyncio.sleep(_LOOK_S)
                with contextlib.suppress(KocoError):
                    for each in await self._outdated() if self._open else ():
                        each.cut()
        finally:
            if self._session is not None:
                await self._session.close()

    async def _outdated(self) -> list[_Attempt]:
        url = await self._leadership.find()
        return [] if url is None else [each for each in self._open if each.url != url]


async def _watch_client(body: Body, attempt: _Attempt) -> None:
    await body.client_gone()
    attempt.client_is_gone()


async def _pass_back(attempt: _Attempt, answer: "aiohttp.ClientResponse", send: Any) -> None:
    headers = [(name.lower(), value) for name, value in answer.raw_headers]
    if any(name == NOT_LEADER for name, _ in headers):
        raise _UntouchedError
    start = {"type": "http.response.start", "status": answer.status}
    attempt.has_begun = True
    await send({**start, "headers": _without_hops(headers, _NOT_ANSWERED)})
    async for piece in answer.content.iter_any():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _without_hops(
    headers: list[tuple[bytes, bytes]], dropped: frozenset[bytes]
) -> list[tuple[bytes, bytes]]:
    """Return headers without those that are for one connection only (RFC 9110, 7.6.1).

    A client cannot name ours among them, to have its address forgotten.
    """
    named = b",".join(value for name, value in headers if name == b"connection")
    dropped |= {each.strip().lower() for each in named.split(b",")} - {proof.NAME}
    return [pair for pair in headers if pair[0] not in dropped]


def _target(scope: Any) -> str:
    """Return the path and the query of a request as they were sent."""
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    return quote(target, safe=_TARGET)


def _context_for(chain: str) -> ssl.SSLContext:
    """Return what trusts the first certificate of a chain, whatever names it is for.

    The leader is reached by its address, which its certificate need not have.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # The certificate itself, and not whoever has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    end = "-----END CERTIFICATE-----"
    context.load_verify_locations(cadata=chain.partition(end)[0] + end)
    return context


def _failure(*, is_untouched: bool) -> KocoError:
    if is_untouched:
        return UnreachableError(
            "the process of the control plane that leads does not answer, and nothing was done",
            hint="try again: the next one leads within five seconds",
        )
    return LeaderLostError(
        "the process of the control plane that leads ended meanwhile, and it is not known whether"
        " the request was carried out",
        hint="look before you repeat it; one with an `Idempotency-Key` may always be repeated",
    )
