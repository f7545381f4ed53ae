"""One of several processes of a control plane: it follows, comes to lead, and ends when deposed."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from koco.control.container import Parts
from koco.control.following import Following
from koco.control.members import folder, silent
from koco.store.model import News

log = logging.getLogger(__name__)

#: How long the first process of a control plane may take to lead until it counts as started
#: (seconds).
_LEADER_S = 2.0


class Candidate:
    """Keeps a process's parts up to date until it leads; it leads as soon as no other one does."""

    def __init__(
        self,
        parts: Parts,
        *,
        name: str,
        url: str,
        node: str,
        data_dir: Path,
        owns_data_dir: bool,
        lead: Callable[[], Awaitable[None]],
    ) -> None:
        """`lead` takes up what only the leader does. Others reach this process at `url`.

        The process that owns the data directory makes its mark there: see
        `koco.control.members.folder`.
        """
        self._parts = parts
        self._name = name
        self._url = url
        self._node = node
        self._data_dir = data_dir
        self._owns_data_dir = owns_data_dir
        self._lead = lead

    async def follow(self) -> None:
        """Keep up with what other processes commit, and let them know of this one."""
        engine, following = self._parts.store.engine, Following(self._parts)
        engine.on_deposed = _end
        engine.on_touched = following.on_touched
        engine.on_gap = following.on_gap
        hear = engine.on_news

        def heed(news: list[News]) -> None:
            hear(news)
            following.heed(news)

        self._parts.store.listen(heed)
        await following.start()
        await engine.announce(url=self._url, node=self._node)

    async def started(self, coming: "asyncio.Task[None]") -> None:
        """Return once some process leads: this one if there is no other, `coming` to do so."""
        if await self._parts.leadership.find() is None:
            await asyncio.wait({coming}, timeout=_LEADER_S)

    async def come_to_lead(self) -> None:
        """Wait for the lease and lead. A process that cannot go on then ends."""
        if not await folder.is_shared(self._parts.store, self._data_dir, owns=self._owns_data_dir):
            log.error(
                "this process never leads: %s is not the data directory of the control plane."
                " Put it on storage that all nodes share",
                self._data_dir,
            )
            return
        engine = self._parts.store.engine
        epoch = await engine.lead(url=self._url)
        log.info("this process leads, epoch %d", epoch)
        try:
            await self._lead()
            await self._parts.supervisor.catch_up()
            await silent.end(engine, self._name)
        except Exception:
            log.exception("this process cannot lead")
            _end()


def _end() -> None:
    """End this process, because another one leads now. Ray starts it again."""
    log.warning("this process no longer leads; it ends")
    logging.shutdown()
    os._exit(1)
