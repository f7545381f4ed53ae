"""Events: into the store in batches, out to every reader in order.

A batch is committed before it is acknowledged, and acknowledged before readers
wake: what a follower has seen is never lost. Nobody polls.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import chain

from koco.events import line, wire
from koco.events.model import Batch, Kind, Status
from koco.store.model import Chunk, Execution
from koco.store.protocol import Store

#: What one read of the store may bring into memory for a reader (bytes).
READ_BYTES = 256 * 1024

Lines = list[tuple[int, bytes]]

_STATUS = Kind.STATUS.encode()


class Spooler:
    """Makes events durable and hands them on."""

    def __init__(self, store: Store) -> None:
        #: Hears the fid of each execution whose runner reports its end; the supervisor listens.
        self.on_final: Callable[[str], None] = lambda fid: None
        self._store = store
        self._readers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._is_dismissed = False

    async def append(self, blob: bytes) -> bytes:
        """Commit encoded batches; return their encoded acknowledgements."""
        batches: list[Batch] = wire.decode_batches(blob)
        acks = await self._store.append(batches)
        for batch, ack in zip(batches, acks, strict=True):
            self.wake(batch.fid)
            # Of one that is not wanted any more, another runner may have the next attempt.
            if batch.status is not None and batch.status.is_final and not ack.closed:
                self.on_final(batch.fid)
        return wire.encode_acks(acks)

    def wake(self, fid: str) -> None:
        """Tell the readers of an execution that there is more."""
        for event in self._readers.get(fid, ()):
            event.set()

    def dismiss(self) -> None:
        """Let followers go, who come back: another control plane has more for them."""
        self._is_dismissed = True
        for fid in list(self._readers):
            self.wake(fid)

    def watch(self, fid: str, event: asyncio.Event) -> None:
        """Set an event, too, whenever there is more of an execution."""
        self._readers[fid].add(event)

    def unwatch(self, fid: str, event: asyncio.Event) -> None:
        """Set it no more."""
        readers = self._readers.get(fid, set())
        readers.discard(event)
        if not readers:
            self._readers.pop(fid, None)

    async def read(
        self,
        execution: Execution,
        *,
        since: int = 0,
        until: float = math.inf,
        kinds: frozenset[str] = frozenset(),
    ) -> AsyncIterator[Lines]:
        """Yield what is there after `since`, in order, in pieces.

        Ends at the end, or once `until` has been yielded: a flow may write faster than
        a reader reads, who would never get there.
        """
        while since < until and (
            chunks := await self._store.chunks(execution.id, after=since, budget_bytes=READ_BYTES)
        ):
            lines = [pair for pair in _lines(chunks) if pair[0] > since]
            since = chunks[-1].last
            yield list(line.only(kinds, lines)) if kinds else lines

    async def tail(
        self, execution: Execution, count: int, *, kinds: frozenset[str] = frozenset()
    ) -> tuple[Lines, int]:
        """Return the last `count` events of some kinds, and the last seq that was looked at."""
        found: Lines = []
        before = last = (await self._store.execution(execution.fid)).last_seq + 1
        while len(found) < count:
            chunks = await self._store.chunks_back(
                execution.id, before=before, budget_bytes=READ_BYTES
            )
            if not chunks:
                break
            lines = _lines(reversed(chunks))
            found = [*(line.only(kinds, lines) if kinds else lines), *found]
            before = chunks[-1].first
        return found[-count:] if count else [], last - 1

    async def follow(
        self,
        execution: Execution,
        *,
        since: int = 0,
        kinds: frozenset[str] = frozenset(),
        heartbeat_s: float,
    ) -> AsyncIterator[Lines]:
        """Yield events as they are committed, until the final status has been yielded.

        An empty list is a heartbeat. The final status is yielded whatever `kinds` says.
        """
        event = asyncio.Event()
        self.watch(execution.fid, event)
        try:
            while True:
                # Cleared before reading: what is committed after that sets it again.
                event.clear()
                before = since
                async for lines in self.read(execution, since=since):
                    since = lines[-1][0]
                    ends = is_end(lines[-1][1])
                    if wanted := _wanted(lines, kinds, ends=ends):
                        yield wanted
                    if ends:
                        return
                if since == before and await self._is_over(execution, since):
                    return  # a reader that came back after it had seen the end
                if self._is_dismissed:
                    return
                try:
                    await asyncio.wait_for(event.wait(), heartbeat_s)
                except TimeoutError:
                    yield []
        finally:
            self.unwatch(execution.fid, event)

    async def _is_over(self, execution: Execution, since: int) -> bool:
        now = await self._store.execution(execution.fid)
        return now.status.is_final and since >= now.last_seq


_ENDS = tuple(
    f'"payload":{{"status":"{status}"}}}}'.encode() for status in Status if status.is_final
)


def _wanted(lines: Lines, kinds: frozenset[str], *, ends: bool) -> Lines:
    if not kinds:
        return lines
    *before, last = lines
    wanted = list(line.only(kinds, before))
    return [*wanted, last] if ends or line.kind_of(last[1]).decode() in kinds else wanted


def is_end(event: bytes) -> bool:
    """Say whether a line is a final status: the last one of its stream."""
    return line.kind_of(event) == _STATUS and event.endswith(_ENDS)


def _lines(chunks: Iterable[Chunk]) -> Lines:
    return list(chain.from_iterable(line.numbered(chunk.first, chunk.body) for chunk in chunks))
