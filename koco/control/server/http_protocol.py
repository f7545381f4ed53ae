"""HTTP on one connection: uvicorn's protocol, with limits on input and on slow clients.

Its parser, httptools, accepts heads of any size and waits for them without a limit.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from koco.control import fair_turns
from koco.control.fair_turns import Place, Turn, Turns
from koco.control.server.request_owner import Holders
from koco.control.settings import Settings
from koco.errors import TooManyError
from koco.sizes import KB

#: How long the head of a request may take to arrive, for the first one after connecting (seconds).
_HEAD_S = 30.0
#: How long a connection stays open after an invalid request, to deliver the answer (seconds).
_TOLD_S = 0.5
#: How long a client that has its answer may go on sending a refused body (seconds). If it were cut
#: off at once, it might lose the answer.
_LINGER_S = 5.0
#: How much of an answer a connection buffers before the writer has to wait (bytes).
_UNTAKEN_BYTES = 64 * 1024
#: How much of a request is read before its turn has come (bytes).
_HELD_BYTES = 64 * 1024
#: How many requests may wait behind the one in work, because each takes some hundred times its size
#: in memory.
_LINE = 32


class _RefusedError(Exception):
    """Raised within the parser, which hands it to whoever feeds it as an error of its own."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, settings: Settings, turns: Turns, holders: Holders, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._settings = settings
        self._turns = turns
        self._holders = holders
        #: The turn of the request in work; the place in line of the request that waits, and the
        #: bytes of it that have arrived.
        self._turn: Turn | None = None
        self._place: Place | None = None
        self._held: bytes | None = None
        #: Bytes of the head that is arriving, or None.
        self._head: int | None = None
        self._late: asyncio.TimerHandle | None = None
        self._is_refused = False
        #: The fault of a head that could be parsed.
        self._fault = ""
        #: Whether the latest data continued a body or ended a request, and the bytes since then.
        self._is_moving = False
        self._beside = 0
        #: The next check for a stalled client, and how often writing has resumed.
        self._stalled: asyncio.TimerHandle | None = None
        self._resumed = 0

    def connection_made(self, transport: Any) -> None:
        """Set the limits of a new connection; a client that sends nothing is disconnected."""
        super().connection_made(transport)
        # The same limit with TLS, which would buffer half a megabyte by default.
        transport.set_write_buffer_limits(high=_UNTAKEN_BYTES)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel everything that waits."""
        self._expect_nothing()
        self._held = None
        if self._place:
            self._place.leave()
        self._give_back()
        if self._stalled:
            self._stalled.cancel()
        super().connection_lost(exc)

    # input

    def data_received(self, data: bytes) -> None:
        """Parse data; the beginning of a request is parsed when its holder's turn comes."""
        if self._is_refused:
            return
        if self._held is not None:
            self._held += data
            if len(self._held) > _HELD_BYTES:
                self.flow.pause_reading()
        elif self._is_between:
            self._held = data
            self._wait(self._holders.of_bytes(data, self._address), self._parse_held)
        else:
            self._parse(data)

    @property
    def _is_between(self) -> bool:
        """Whether the next data begins a request, and no other request is under way."""
        cycle = self.cycle
        is_over = cycle is None or (cycle.response_complete and not cycle.more_body)
        return is_over and self._head is None and not self.pipeline

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _wait(self, holder: str, go: Callable[[Turn], None]) -> None:
        try:
            self._place = self._turns.ask(holder, go)
        except TooManyError as exc:
            self._held = None
            self._refuse(exc.http_status, exc.code, "Too many at once", exc.message)
            return
        if self._place:
            # The request has arrived, so stop the timers that wait for its head or the next one.
            self._expect_nothing()
            self._unset_keepalive_if_required()

    def _parse_held(self, turn: Turn) -> None:
        self._place = None
        data, self._held, self._turn = self._held or b"", None, turn
        before = self.cycle
        self.flow.resume_reading()
        self._parse(data)
        if self.cycle is before:
            self._give_back()  # its head is incomplete, and may stay so

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begin a request: now if it was parsed in its turn, else when its turn comes."""

        def go(turn: Turn) -> None:
            self._place, self._turn = None, turn
            token = fair_turns.current.set(turn)  # the task inherits it
            super(Protocol, self)._start_asgi_task(cycle, app)
            fair_turns.current.reset(token)

        if self._turn is not None:
            go(self._turn)
        else:
            self._wait(self._holders.of_scope(cycle.scope, self._address), go)

    def _give_back(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.give_back()

    def _parse(self, data: bytes) -> None:
        """Parse data; refuse a head that is too long."""
        begun, self._is_moving = self._head, False
        super().data_received(data)
        if self._is_refused:
            return
        if self._head is None:
            self._count_beside(len(data))
            return
        if self._late is None:
            self._expect_head()
        # The parser reports a header only when it is complete, so bytes are counted, too. Bytes
        # that arrived together with the end of the previous request are not counted, because it is
        # unknown how many of them belong to this one.
        if begun is not None:
            self._head = max(self._head, begun + len(data))
            if self._head > self._limit:
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin to count the head."""
        if len(self.pipeline) >= _LINE:
            raise _RefusedError
        super().on_message_begin()
        self._head = 0

    def on_url(self, url: bytes) -> None:
        """Count the request's target."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header and its separators; drop a header that follows a body (a trailer).

        uvicorn would mix trailers with the headers, past guards, and past proxies that removed one.
        """
        if self._head is None:
            return
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """Stop counting and begin the request, unless a proxy could read its head differently."""
        if fault := _ambiguity([name for name, _ in self.headers], self.parser.get_http_version()):
            self._fault = fault
            raise _RefusedError
        self._head = None
        self._expect_nothing()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of a body."""
        self._is_moving = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._is_moving = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give the turn back; if the rest of the body is not read, wait for it only a moment."""
        self._give_back()
        super().on_response_complete()
        if self.cycle is not None and self.cycle.response_complete and self.cycle.more_body:
            self._expect_nothing()
            self._late = self.loop.call_later(_LINGER_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Refuse an invalid request or one with too large a head; close the connection."""
        if self.pipeline or self._is_answering:
            # Any answer now would be taken for the answer to an earlier request.
            self._is_refused = True
            self.transport.abort()
        elif self._head is not None and self._head > self._limit:
            most = f"{self._settings.max_header_kb:g}"
            detail = f"the request's head is larger than this control plane's max_header_kb, {most}"
            self._refuse(431, "limit", "More than a setting allows", detail)
        else:
            detail = self._fault or "this is not an HTTP request"
            self._refuse(400, "usage", "The request is not valid", detail)

    @property
    def _limit(self) -> int:
        return int(self._settings.max_header_kb * KB)

    @property
    def _is_answering(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.response_started and not cycle.response_complete

    def _count_beside(self, size: int) -> None:
        """Count bytes that are neither head nor body: trailers that are not parsed yet."""
        self._beside = 0 if self._is_moving else self._beside + size
        if self._beside > self._limit:
            self._head = self._beside
            self.send_400_response("")

    def _count(self, size: int) -> None:
        self._head = (self._head or 0) + size
        if self._head > self._limit:
            raise _RefusedError

    def _refuse(self, status: int, code: str, title: str, detail: str) -> None:
        problem = {"type": f"urn:koco:error:{code}", "title": title, "status": status}
        problem |= {"detail": detail, "code": code, "hint": None, "request_id": ""}
        body = msgspec.json.encode(problem)
        head = (
            b"content-type: application/problem+json\r\nx-content-type-options: nosniff\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self._expect_nothing()
        self._is_refused = True
        # Not closed at once, because a client that still sends would lose the answer unread.
        self.loop.call_later(_TOLD_S, self.transport.close)

    def _expect_head(self) -> None:
        self._late = self.loop.call_later(_HEAD_S, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None

    # output

    def pause_writing(self) -> None:
        """Make answers wait because the client does not read; check later if it has gone on."""
        super().pause_writing()
        if self._stalled is None:
            self._look_later()

    def resume_writing(self) -> None:
        """Let answers go on."""
        self._resumed += 1
        super().resume_writing()

    def _look_later(self) -> None:
        seen = (self._resumed, self.transport.get_write_buffer_size())
        wait_s = self._settings.stream_stall_s
        self._stalled = self.loop.call_later(wait_s, self._look, seen)

    def _look(self, seen: tuple[int, int]) -> None:
        self._stalled = None
        if not self.flow.write_paused:
            return
        if seen == (self._resumed, self.transport.get_write_buffer_size()):
            wait_s = self._settings.stream_stall_s
            self.logger.info("%s takes nothing for %g s (stream_stall_s)", self.client, wait_s)
            # Aborted rather than closed, because closing waits until everything has been read.
            self.transport.abort()
        else:
            self._look_later()


def _ambiguity(names: list[bytes], version: str) -> str:
    """Return the part of a head that a proxy could read differently, or an empty text."""
    hosts = names.count(b"host")
    if hosts > 1 or (hosts == 0 and version != "1.0"):  # RFC 9112, 3.2
        return f"a request must have one Host header, this one has {hosts or 'none'}"
    if version == "1.0" and b"transfer-encoding" in names:  # RFC 9112, 6.1
        return "an HTTP/1.0 request cannot have Transfer-Encoding"
    if names.count(b"authorization") > 1:
        return "a request must have one Authorization header, this one has several"
    return ""
