"""Streaming answers: counted, and ended once their caller loses access.

A stream that its client does not read ends with its connection: see
`koco.control.server.http_protocol`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from koco.control import fair_turns
from koco.control.access.caller import Caller
from koco.control.settings import Settings
from koco.errors import KocoError, TooManyError, UnauthorizedError, UnreachableError
from koco.plurals import counted

#: How often the callers of open streams are checked for expiry (seconds).
_LOOK_S = 1.0
#: When to try again if the limit of open streams is reached (seconds).
_AGAIN_S = 5.0
#: How long an ended credential is remembered (seconds): longer than any request may take to begin
#: its work.
_ENDED_S = 7200.0


class Stream:
    """An open stream, in the task that has opened it."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        #: Why it was ended from outside; None while it is open.
        self.reason: KocoError | None = None
        self.task = asyncio.current_task()

    def end(self, reason: KocoError) -> None:
        """Make the block that the stream was opened for raise `reason`, wherever it waits."""
        if self.reason is None and self.task is not None:
            self.reason = reason
            self.task.cancel()


class Streams:
    """All open streams.

    These are followed events, changes, launches that wait for their end, and requests to services'
    own endpoints.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: set[Stream] = set()
        self._by_holder: Counter[str] = Counter()
        #: When credentials were ended; a caller that was checked before that loses access.
        self._ended: dict[str, float] = {}
        #: When all streams were ended.
        self._all_ended = -1.0
        self._looking: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    @contextmanager
    def open(self, caller: Caller) -> Iterator[Stream]:
        """Count a stream of a caller for as long as the block runs.

        Raises:
            TooManyError: the limit in the settings is reached.
            UnauthorizedError: from the block: the caller's credential was revoked or has expired.
        """
        self.require(caller)
        self._refuse_more(caller)
        fair_turns.yield_turn()
        stream = Stream(caller)
        self._open.add(stream)
        self._by_holder[caller.holder] += 1
        if self._looking is None:
            self._look_later()
        try:
            yield stream
        except asyncio.CancelledError:
            if stream.reason is None or stream.task is None:
                raise
            stream.task.uncancel()
            raise stream.reason from None
        finally:
            stream.task = None
            self._open.discard(stream)
            self._by_holder[caller.holder] -= 1
            self._by_holder += Counter()  # drops those without streams

    def end(self, credential: str) -> None:
        """End all streams of a revoked credential: see `Caller.credential`."""
        now = time.monotonic()
        self._ended = {key: at for key, at in self._ended.items() if at > now - _ENDED_S}
        self._ended[credential] = now
        for stream in [each for each in self._open if each.caller.credential == credential]:
            stream.end(_no_more(stream.caller))

    def end_all(self) -> None:
        """End all streams, because it was missed whose credentials have ended: readers return."""
        self._all_ended = time.monotonic()
        for stream in list(self._open):
            stream.end(_check_again())

    def require(self, caller: Caller) -> None:
        """Refuse a caller whose credential has ended since it was checked, which may be long ago.

        Raises:
            UnauthorizedError: the credential was revoked or has expired.
            UnreachableError: that is not known: see `end_all`.
        """
        if caller.since <= self._all_ended:
            raise _check_again()
        if caller.is_over or caller.since <= self._ended.get(caller.credential, -1.0):
            raise _no_more(caller)

    def _refuse_more(self, caller: Caller) -> None:
        own, most = self._by_holder[caller.holder], self._settings.max_streams_per_key
        if own >= most:
            raise TooManyError(
                f"{caller.name!r} has {counted(own, 'stream')} open; max_streams_per_key is {most}",
                hint="end one; an admin can change that: `koco up --set max_streams_per_key=N`",
                retry_after_s=_AGAIN_S,
            )
        # Each holder leaves as many free as it has, so a newcomer always finds some.
        if own >= self._settings.max_streams - len(self._open):
            are = counted(len(self._open), "stream", "is")
            raise TooManyError(
                f"{are} open, {own} of them of {caller.name!r};"
                f" max_streams is {self._settings.max_streams}, and as many stay free for others",
                hint="try again; an admin can change the limit: `koco up --set max_streams=N`",
                retry_after_s=_AGAIN_S,
            )

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._looking = None
        for stream in list(self._open):
            if stream.caller.is_over:
                stream.end(_no_more(stream.caller))
        if self._open:
            self._look_later()


def _check_again() -> KocoError:
    return UnreachableError(
        "this process has lost its connection to the store for a moment, and must look again"
        " whether you may do this",
        hint="try again",
    )


def _no_more(caller: Caller) -> KocoError:
    return UnauthorizedError(
        f"the credential of {caller.name!r} is no longer valid",
        hint="log in again, or ask an admin for a key",
    )
