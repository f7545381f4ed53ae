"""End Ray tasks and actors that outlive their execution, or report them with its fid.

A runner ends the tasks and actors that an execution started directly. Those that its tasks
started in turn, and those that do not react, are found and ended here when the runner reports that
the execution is over.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

import msgspec

from koco.cluster.ray_work import Item, creation, end
from koco.control.executions.supervisor import Supervisor
from koco.errors import KocoError
from koco.events.questions import EndWork

log = logging.getLogger(__name__)

#: For how many tasks and actors that stay the execution is remembered.
_REMEMBERED = 10_000
#: How old a list may be when it is reused (seconds), because each costs Ray's dashboard some
#: milliseconds.
_FRESH_S = 2.0


class LeftOver(msgspec.Struct, frozen=True):
    """A task or an actor that still works although its execution is over."""

    kind: str
    name: str
    service: str
    release: int
    #: Its execution; null if no longer known.
    fid: str | None
    pid: int | None
    node: str
    detached: bool


class Leftovers:
    """Finds the tasks and actors that executions have left behind.

    After a restart they are still found, but their executions are forgotten.
    """

    def __init__(self, supervisor: Supervisor, work: Callable[[], Awaitable[list[Item]]]) -> None:
        """`work` returns the active Ray tasks and actors of releases."""
        self._supervisor = supervisor
        self._list_work = work
        self._fids: dict[str, str] = {}
        self._looking = asyncio.Lock()
        self._seen: list[Item] = []
        self._seen_at = -math.inf

    async def settle(self, fid: str, rest: EndWork) -> None:
        """End the remaining tasks and actors of an ended execution, and remember those that stay.

        `rest` is the runner's report of what the execution started.
        """
        roots = {*rest.tasks, *map(creation, rest.actors)}
        kept = {*map(creation, rest.kept)}
        for each in await self._work(since=time.monotonic()):
            if not roots & {*each.ancestors}:
                continue
            # Detached actors stay, and so does everything that a kept actor has started.
            if each.is_detached or kept & {*each.ancestors}:
                self._remember(each.id, fid)
                continue
            log.warning("%s %s outlived its execution", each.kind, each.name, extra={"fid": fid})
            if not await _try_to_end(each):
                self._remember(each.id, fid)

    async def look(self) -> list[LeftOver]:
        """Return the tasks and actors that work for no running execution, at most 2 s old.

        Raises:
            KocoError: Ray does not answer.
        """
        pools = self._supervisor.pools.items()
        busy = {key for key, pool in pools if any(each.running for each in pool.runners.values())}
        left = []
        for each in await self._work(since=time.monotonic() - _FRESH_S):
            if each.pid is None and not each.is_detached:
                continue  # it has no process: Ray still lists it after its owner's death ended it
            fid = self._fids.get(each.id)
            if fid is not None or (each.service, each.release) not in busy:
                left.append(_describe(each, fid))
        return left

    async def _work(self, *, since: float) -> list[Item]:
        """Return the active tasks and actors. Concurrent callers share one look."""
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


async def _try_to_end(item: Item) -> bool:
    try:
        return await end(item)
    except KocoError as exc:
        log.warning("could not end %s %s: %s", item.kind, item.name, exc.message)
        return False


def _describe(item: Item, fid: str | None) -> LeftOver:
    return LeftOver(
        kind=item.kind,
        name=item.name,
        service=item.service,
        release=item.release,
        fid=fid,
        pid=item.pid,
        node=item.node_id,
        detached=item.is_detached,
    )
