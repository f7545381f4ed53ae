"""The caller of a request that may take long: known to be still there, with the same rights."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec

from koco.control.access.caller import Caller
from koco.control.access.open_streams import Streams
from koco.errors import UnreachableError


class Asker(msgspec.Struct, frozen=True):
    """A caller, and a coroutine function that returns when its client has disconnected."""

    caller: Caller
    streams: Streams
    until_gone: Callable[[], Awaitable[None]]

    def require(self) -> None:
        """Refuse a caller whose credential has ended since the request began.

        Raises:
            UnauthorizedError: it was revoked or has expired.
        """
        self.streams.require(self.caller)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the request as a stream while the block runs; the block ends with its client.

        Raises:
            TooManyError, UnauthorizedError: see `Streams.open`.
            UnreachableError: from the block: the client has disconnected.
        """
        with self.streams.open(self.caller) as stream:

            async def watch() -> None:
                await self.until_gone()
                stream.end(UnreachableError("the client disconnected"))

            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
