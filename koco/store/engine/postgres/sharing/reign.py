"""Renew a leader's claim, and notice that it is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from koco.errors import KocoError
from koco.store.engine.postgres.sharing.candidacy import LEASE_S
from koco.store.errors import DeposedError

#: How often the claim is renewed, how long that may take before the leader looks whether it still
#: leads, and how long that may take (seconds).
_RENEW_S, _WRITE_S, _LOOK_S = 1.0, 1.5, 1.0


class Reign:
    """The leader's side of the lease.

    `renew` writes, `look` returns the epoch of the latest leader by another connection, and
    `down_at` says when the server last refused to answer at all.
    """

    def __init__(
        self,
        epoch: int,
        *,
        renew: Callable[[], Awaitable[object]],
        look: Callable[[], Awaitable[int]],
        down_at: Callable[[], float],
    ) -> None:
        self._epoch = epoch
        self._renew = renew
        self._look = look
        self._down_at = down_at
        #: When this process last led for certain (monotonic).
        self._sure_at = time.monotonic()

    async def last(self) -> None:
        """Return once another process leads, or may.

        A claim that cannot be renewed is not lost as long as a look says that it is not: the
        server's disk may be slow. And nobody else leads while there is no server.
        """
        renewing: asyncio.Future[object] | None = None
        while True:
            began = time.monotonic()
            if renewing is None:
                renewing = asyncio.ensure_future(self._renew())
            await asyncio.wait({renewing}, timeout=_WRITE_S)
            if renewing.done():
                error, renewing = renewing.exception(), None
                if isinstance(error, DeposedError):
                    return
                if error is None:
                    self._sure_at = began
            if self._sure_at < began and not await self._may_lead(began):
                return
            await asyncio.sleep(max(0.0, began + _RENEW_S - time.monotonic()))

    async def _may_lead(self, began: float) -> bool:
        looked = time.monotonic()
        with suppress(KocoError, TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                if await self._look() != self._epoch:
                    return False
            self._sure_at = looked
        self._sure_at = max(self._sure_at, self._down_at())
        return time.monotonic() - self._sure_at < LEASE_S
