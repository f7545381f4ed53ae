"""A spool with a store of memory behind it."""

import asyncio
from collections.abc import Awaitable, Callable

from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Ack, Batch
from koco.runner.output.spool import Spool


class Shelf:
    """Takes batches as a store does; may refuse them, forget to answer, or be slow."""

    def __init__(self) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self.statuses: list[tuple[str, Status]] = []
        self.closed: set[str] = set()
        self.calls = 0
        self.sizes: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuse: Callable[[], bool] = lambda: False
        self.refuses: Callable[[Batch], bool] = lambda batch: False

    async def __call__(self, blob: bytes) -> bytes:
        self.calls += 1
        self.sizes.append(len(blob))
        await self.gate.wait()
        await asyncio.sleep(0)
        return wire.encode_acks([self._take(batch) for batch in wire.decode_batches(blob)])

    def _take(self, batch: Batch) -> Ack:
        held = self.lines.setdefault(batch.fid, [])
        if batch.fid in self.closed:
            return Ack(0, closed=True)
        if self.refuses(batch) or self.refuse() or batch.first > len(held) + 1:
            return Ack(len(held))
        new = batch.body.split(b"\n")[len(held) + 1 - batch.first :] if batch.count else []
        held.extend(new)
        if batch.status:
            self.statuses.append((batch.fid, batch.status))
        return Ack(len(held))

    def payloads(self, fid: str) -> list[object]:
        return [line.decode(1, text)["payload"] for text in self.lines.get(fid, [])]


def spooled(body: Callable[[Spool, Shelf], Awaitable[None]]) -> None:
    """Run a test with a spool that sends to a shelf."""

    async def main() -> None:
        shelf = Shelf()
        spool = Spool("r1", shelf)
        task = asyncio.create_task(spool.run())
        try:
            await asyncio.wait_for(body(spool, shelf), 30)
        finally:
            task.cancel()

    asyncio.run(main())


def event(payload: object) -> bytes:
    """Return an event's line."""
    return line.encode(Kind.RESULT, payload)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    while not condition():
        await asyncio.sleep(0.001)
