"""Ray tasks and actors that outlive their execution: ended, or told of with its fid.

A runner ends what an execution has started itself. What its tasks started in turn and left, and
what does not hear, is found and ended here, when the runner says that the execution is over.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from koco.cluster.ray_work import Item, creation, end
from koco.control.executions.supervisor import Supervisor
from koco.errors import KocoError

log = logging.getLogger(__name__)

#: Of how many actors that stay is remembered which execution has started them.
_REMEMBERED = 10_000
#: How old what is told may be (seconds): a look costs Ray's dashboard some milliseconds.
_FRESH_S = 2.0


class Left(msgspec.Struct, frozen=True):
    """A task or an actor that is at work though its execution is over."""

    kind: str
    name: str
    service: str
    release: int
    #: Its execution; null where that is not known any more.
    fid: str | None = None
    pid: int | None = None
    node: str = ""
    detached: bool = False


class Leftovers:
    """Knows what executions have left behind. A restart forgets whose it is, not that it is."""

    def __init__(self, supervisor: Supervisor, work: Callable[[], Awaitable[list[Item]]]) -> None:
        """`work` returns the Ray tasks and actors of releases that are at work."""
        self._supervisor = supervisor
        self._list_work = work
        self._fids: dict[str, str] = {}
        self._looking = asyncio.Lock()
        self._seen: list[Item] = []
        self._seen_at = -math.inf

    async def settle(self, fid: str, told: dict[str, Any]) -> None:
        """End what is still at work of an execution that is over; remember what stays."""
        roots = {*told["tasks"], *map(creation, told["actors"])}
        kept = {*map(creation, told["kept"])}
        for each in await self._work(since=time.monotonic()):
            if not roots & {*each.ancestors}:
                continue
            # What an actor has started that stays is its own affair.
            if each.is_detached or kept & {*each.ancestors}:
                self._remember(each.id, fid)
                continue
            log.warning("%s %s outlived its execution", each.kind, each.name, extra={"fid": fid})
            if not await _ended(each):
                self._remember(each.id, fid)

    async def look(self) -> list[Left]:
        """Return what is at work for no execution that runs, as it was a moment ago at most.

        Raises:
            KocoError: Ray does not say.
        """
        pools = self._supervisor.pools.items()
        busy = {key for key, pool in pools if any(each.running for each in pool.runners.values())}
        left = []
        for each in await self._work(since=time.monotonic() - _FRESH_S):
            if each.pid is None and not each.is_detached:
                continue  # it has no process: Ray still lists what its owner's death has ended
            fid = self._fids.get(each.id)
            if fid is not None or (each.service, each.release) not in busy:
                left.append(_told(each, fid))
        return left

    async def _work(self, *, since: float) -> list[Item]:
        """Look at what is at work; those who ask at once share a look."""
        async with self._looking:
            if self._seen_at < since:
                at = time.monotonic()
                self._seen = await self._list_work()
                self._seen_at = at
            return self._seen

    def _remember(self, each: str, fid: str) -> None:
        self._fids[each] = fid
        if len(self._fids) > _REMEMBERED:
            del self._fids[next(iter(self._fids))]


async def _ended(item: Item) -> bool:
    try:
        return await end(item)
    except KocoError as exc:
        log.warning("could not end %s %s: %s", item.kind, item.name, exc.message)
        return False


def _told(item: Item, fid: str | None) -> Left:
    return Left(
        kind=item.kind,
        name=item.name,
        service=item.service,
        release=item.release,
        fid=fid,
        pid=item.pid,
        node=item.node_id,
        detached=item.is_detached,
    )
