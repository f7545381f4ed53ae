"""A request's body on its way to the leader; its beginning is kept, to be sent again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any


class ClientGoneError(Exception):
    """The client disconnected before the end of its request."""


class Body:
    """Reads a request's body, also again from its beginning while little of it has arrived."""

    def __init__(self, receive: Any, *, kept_bytes: float) -> None:
        """`kept_bytes` is how much of it may be kept."""
        self._receive = receive
        self._most_bytes = kept_bytes
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        #: How many of the kept pieces have been read, this time.
        self._read = 0
        self._has_arrived = asyncio.Event()
        #: Whether all that has been read of it is kept.
        self.is_kept = True
        self.is_client_gone = False

    def restart(self) -> None:
        """Read it from its beginning again."""
        self._read = 0

    async def receive(self) -> Any:
        """Return the next message of the request: as an ASGI server's `receive`."""
        if self._read < len(self._kept):
            piece = self._kept[self._read]
            self._read += 1
            more = self._read < len(self._kept) or not self._has_arrived.is_set()
            return {"type": "http.request", "body": piece, "more_body": more}
        message = await self._receive()
        if message["type"] == "http.request" and not self._has_arrived.is_set():
            self._keep(message.get("body", b""))
            if not message.get("more_body"):
                self._has_arrived.set()
        return message

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ClientGoneError: the client disconnected before its end.
        """
        more = True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                self.is_client_gone = True
                raise ClientGoneError
            more = message.get("more_body", False)
            if piece := message.get("body", b""):
                yield piece

    async def client_gone(self) -> None:
        """Wait until the body has arrived and then the client disconnects."""
        await self._has_arrived.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def arrive(self) -> None:
        """Read a body that is known to be empty."""
        async for _ in self.pieces():
            pass

    def _keep(self, piece: bytes) -> None:
        if not self.is_kept:
            return
        if self._kept_bytes + len(piece) > self._most_bytes:
            self._drop()
            return
        self._kept.append(piece)
        self._kept_bytes += len(piece)
        self._read += 1

    def _drop(self) -> None:
        self._kept.clear()
        self._read = 0
        self.is_kept = False
