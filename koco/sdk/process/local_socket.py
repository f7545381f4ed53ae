"""Call the control plane over a socket of its own node, in a tenth of an actor call's time.

The socket takes the actor's requests and gives the same answers, and hands out launches (`take`:
see `koco.control.runners.handout`). It is there only while
a control plane has its store open, and only on its node. Whatever goes wrong, the caller turns to
the actor, which knows when to repeat a call: see `koco.sdk.process.control_client`. The other end
is `koco.control.server.local_calls`.
"""

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

#: The methods that can be called. Their places are the codes of requests: append new ones.
METHODS = ("append", "ask", "take")
#: The codes of answers: the method's own answer, or none.
ANSWERED, FAILED = 0, 1
#: The largest message (bytes). A larger one is an actor call's.
MOST_BYTES = 64 * 1024 * 1024

#: In Ray's directory of sockets. The name is shorter than Ray's own ones there, so it always fits.
_FOLDER, _NAME = "sockets", "koco"
#: Before each message: the size of what follows, the number of the call, and a code.
_HEAD = struct.Struct("!IQB")
#: How long to wait until another try to connect (seconds), and for a connection (seconds).
_AGAIN_S = 1.0
_CONNECT_S = 1.0
#: `struct ucred` of unix(7): pid, uid, gid.
_CREDENTIALS = struct.Struct("3i")


def path() -> Path:
    """Return the socket's path on this node. Works only in Ray's processes."""
    import ray

    return Path(ray._private.worker._global_node.get_session_dir_path()) / _FOLDER / _NAME


def message(number: int, code: int, body: bytes) -> bytes:
    """Return a message as bytes."""
    return _HEAD.pack(len(body), number, code) + body


def is_own(transport: asyncio.BaseTransport) -> bool:
    """Return whether the process at the other end is this user's."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True  # the socket's mode lets no other user in
    end: Any = transport.get_extra_info("socket")
    credentials = end.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(credentials)[1] == os.geteuid())


class Messages:
    """Cuts the bytes of a connection into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield the messages that are complete: number, code and body.

        Raises:
            ValueError: one is too large.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEAD.size:
            size, number, code = _HEAD.unpack_from(buffer, at)
            if size > MOST_BYTES:
                raise ValueError(f"a message of {size} bytes")
            begin, end = at + _HEAD.size, at + _HEAD.size + size
            if len(buffer) < end:
                break
            yield number, code, bytes(memoryview(buffer)[begin:end])
            at = end
        del buffer[:at]


class _Connection(asyncio.Protocol):
    """One connection. Calls get None for an answer if it breaks."""

    def __init__(self) -> None:
        self.is_lost = False
        self._messages = Messages()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for number, code, body in self._messages.feed(data):
                future = self._waiting.get(number)
                if future is not None and not future.done():
                    future.set_result(body if code == ANSWERED else None)
        except ValueError:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)

    async def call(self, code: int, blob: bytes) -> bytes | None:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self.transport.write(message(number, code, blob))
            return await self._waiting[number]
        finally:
            del self._waiting[number]


class LocalSocket:
    """The control plane's socket, for the calls of one event loop. It connects again by itself."""

    def __init__(self, where: Path) -> None:
        self._path = where
        self._connection: _Connection | None = None
        self._turn = asyncio.Lock()
        self._again_at = 0.0
        self._is_near = True

    def turn_to(self, *, is_near: bool) -> None:
        """Leave the present connection; use another one only if the leader is on this node."""
        self._is_near, self._again_at = is_near, 0.0
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.abort()

    async def may_connect(self) -> None:
        """Wait until another try to connect is due, after one that has failed a moment ago."""
        await asyncio.sleep(max(0.0, self._again_at - time.monotonic()))

    async def call(self, method: str, blob: bytes) -> bytes | None:
        """Return a method's answer; None if the actor has to be called instead.

        The method may have been carried out even then, so it must be safe to repeat.
        """
        if len(blob) > MOST_BYTES or not self._is_near:
            return None
        connection = self._connection
        if connection is None or connection.is_lost:
            connection = await self._connect()
        return None if connection is None else await connection.call(METHODS.index(method), blob)

    async def _connect(self) -> _Connection | None:
        async with self._turn:
            if self._connection is not None and not self._connection.is_lost:
                return self._connection
            self._connection = None
            if time.monotonic() < self._again_at:
                return None
            self._again_at = time.monotonic() + _AGAIN_S
            with contextlib.suppress(OSError, TimeoutError):
                self._connection = await self._connected()
            return self._connection

    async def _connected(self) -> _Connection | None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            _, made = await loop.create_unix_connection(_Connection, str(self._path))
        if is_own(made.transport):
            return made
        made.transport.abort()
        return None
