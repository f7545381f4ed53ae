"""Calls of this node's runners over a socket: see `koco.sdk.process.local_socket`.

The socket is there only while this control plane has the store, so no runner reaches one that
stands by. Other users can neither open the file nor, if it was opened for them, call anything.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from koco.sdk.process.local_socket import (
    ANSWERED,
    FAILED,
    METHODS,
    MOST_BYTES,
    Messages,
    is_own,
    message,
)

log = logging.getLogger(__name__)

#: A method of the control plane's actor: it takes and returns bytes.
Method = Callable[[bytes], Awaitable[bytes]]

#: How many connections may wait until they are accepted.
_BACKLOG = 256


class LocalCalls:
    """Carries out calls of `methods` (by their names in `METHODS`) that arrive at a socket."""

    def __init__(self, path: Path, methods: dict[str, Method]) -> None:
        self._path = path
        self._methods = [methods[name] for name in METHODS]
        self._server: asyncio.Server | None = None
        self._callers: set[_Caller] = set()
        # The loop holds its tasks weakly.
        self._calls: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen, in place of a control plane that is gone. Without it runners call the actor."""
        try:
            listener = _listen(self._path)
        except OSError as exc:
            log.warning("runners on this node call the actor instead: %s: %s", self._path, exc)
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Caller(self), sock=listener)

    def close(self) -> None:
        """Stop listening and break all connections: the callers turn to the actor."""
        if self._server is None:
            return
        self._path.unlink(missing_ok=True)
        self._server.close()
        self._server = None
        for caller in list(self._callers):
            caller.transport.abort()

    def add(self, caller: "_Caller") -> None:
        """Called when a caller has connected."""
        self._callers.add(caller)

    def remove(self, caller: "_Caller") -> None:
        """Called when a caller's connection has ended."""
        self._callers.discard(caller)

    def begin(self, caller: "_Caller", number: int, code: int, body: bytes) -> None:
        """Carry out a call, and answer it unless the caller has left meanwhile."""
        # It goes on if the caller leaves: what it commits, readers must be told of.
        task = asyncio.get_running_loop().create_task(self._carry_out(caller, number, code, body))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _carry_out(self, caller: "_Caller", number: int, code: int, body: bytes) -> None:
        answer, how = b"", FAILED
        try:
            if code < len(self._methods):  # or else a newer runner's method
                answer, how = await self._methods[code](body), ANSWERED
        except Exception as exc:  # noqa: BLE001 - the caller learns it from the actor
            log.debug("call %s failed: %r", code, exc)
        if len(answer) > MOST_BYTES:
            answer, how = b"", FAILED
        if not caller.transport.is_closing():
            caller.transport.write(message(number, how, answer))


class _Caller(asyncio.Protocol):
    """The connection of one runner."""

    def __init__(self, calls: LocalCalls) -> None:
        self._calls = calls
        self._messages = Messages()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._calls.add(self)
        if not is_own(transport):
            log.warning("a process of another user has called")
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        try:
            for number, code, body in self._messages.feed(data):
                self._calls.begin(self, number, code, body)
        except ValueError:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calls.remove(self)


def _listen(path: Path) -> socket.socket:
    """Return a listening socket at a path, for this user only."""
    # Made under another name, so that it is never there without its mode and its listener.
    made = path.with_name(f"{path.name}.{os.getpid()}")
    made.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(made))
        made.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        made.replace(path)
    except BaseException:
        listener.close()
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        raise
    return listener
