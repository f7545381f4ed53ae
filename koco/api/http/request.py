"""A request: its caller, the control plane, and a body of limited size and duration."""

import asyncio
import math
from collections.abc import AsyncGenerator
from typing import Any

import litestar
from litestar.datastructures import State

from koco.control import fair_turns
from koco.control.access.asker import Asker
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.errors import LimitError, TimedOutError
from koco.forms import json_value_count
from koco.sizes import MB

#: The time limit for reading a whole body (seconds), plus a second for every so many bytes.
#: Without it, a client that sends one byte a minute would hold a connection and a task for ever.
_BODY_S = 30.0
_BYTES_S = 16 * 1024


class Request(litestar.Request[Any, Caller, State]):
    """A request. Its `auth` is the caller, if the route has a guard.

    It refuses to read a whole body larger than the setting `max_body_mb`. Routes that read by
    `stream` count for themselves: see `koco.control.storage.blobs`.
    """

    _is_whole = False
    _patience: asyncio.Timeout | None = None

    @property
    def parts(self) -> Parts:
        """The parts of the control plane."""
        parts: Parts = self.app.state.parts
        return parts

    @property
    def asker(self) -> Asker:
        """The caller, for work that may outlast its client or its rights."""
        return Asker(self.auth, self.parts.streams, self._until_gone)

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def body(self) -> bytes:
        """Return the body, which is JSON.

        Raises:
            LimitError: it has more values than the setting `max_body_values` allows, or as `octets`
                raises it.
            TimedOutError: it arrives too slowly.
        """
        found = await self.octets()
        most = self.parts.settings.max_body_values
        most = max(most, self.route_handler.opt.get("max_body_values", 0))
        if json_value_count.has_more(found, most):
            raise LimitError(
                f"the body has more values than this control plane's max_body_values, {most}",
                hint="upload what is large as a file; an admin sets another limit:"
                " `koco up --set max_body_values=N`",
            )
        return found

    async def octets(self) -> bytes:
        """Return the body as bytes, of any type.

        Raises:
            LimitError: it is larger than the setting allows, with or without `Content-Length`.
            TimedOutError: it arrives too slowly.
        """
        self._is_whole = True
        try:
            async with asyncio.timeout(_BODY_S) as self._patience:
                return await super().body()
        except TimeoutError:
            raise TimedOutError("the body came too slowly", hint="send it in one go") from None
        finally:
            self._patience = None  # the kept body may be read again

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives."""
        if not self._is_whole:
            fair_turns.yield_turn()  # for the client, until its data arrives
        most_mb = self.parts.settings.max_body_mb if self._is_whole else math.inf
        _refuse_more(self.content_length or 0, most_mb)
        arrived = 0
        async for piece in super().stream():
            self._require_known()
            arrived += len(piece)
            _refuse_more(arrived, most_mb)
            if self._patience and (until := self._patience.when()):
                self._patience.reschedule(until + len(piece) / _BYTES_S)
            yield piece
        self._require_known()

    def _require_known(self) -> None:
        """Refuse a caller whose key was revoked while the body arrived."""
        if isinstance(caller := self.scope.get("auth"), Caller):
            self.parts.streams.require(caller)


def _refuse_more(size_bytes: int, most_mb: float) -> None:
    if size_bytes > most_mb * MB:
        raise LimitError(
            f"the body is larger than this control plane's max_body_mb, {most_mb:g}",
            hint="upload what is large as a file; an admin sets another limit:"
            " `koco up --set max_body_mb=N`",
        )
