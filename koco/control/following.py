"""What a process that does not lead has in memory, kept as the leader commits it."""

import logging
from collections.abc import Sequence

from koco.control.container import Parts
from koco.control.tasks import Tasks
from koco.errors import KocoError
from koco.store.model import News, Topic

log = logging.getLogger(__name__)


class Following:
    """Loads the catalog, the settings and the limits, and again whenever they change elsewhere."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks = Tasks("what follows the leader")

    async def start(self) -> None:
        """Load everything."""
        await self._load_settings()
        await self._load_limits()
        await self._load_releases()

    def heed(self, news: Sequence[News]) -> None:
        """Act on the news of other processes."""
        topics = {each.topic for each in news}
        for topic, load in (
            (Topic.SETTINGS, self._load_settings),
            (Topic.LIMITS, self._load_limits),
            (Topic.RELEASES, self._load_releases),
        ):
            if topic in topics and not self._parts.leadership.leads:
                self._tasks.spawn(load())
        for each in news:
            if each.topic is Topic.ACCESS and each.key:
                self._parts.streams.end(each.key)
            elif each.topic is Topic.ACCESS and not self._parts.leadership.leads:
                self._parts.streams.end_all()  # the leader makes these changes, and misses none

    def on_touched(self, fids: Sequence[str]) -> None:
        """Wake those who read the events of executions."""
        for fid in fids:
            self._parts.spooler.wake(fid)

    def on_gap(self) -> None:
        """Load everything, and let every reader look again: news may have been missed."""
        self._tasks.spawn(self._catch_up())
        self._parts.spooler.wake_all()

    async def _catch_up(self) -> None:
        try:
            if self._parts.leadership.leads:
                await self._parts.supervisor.catch_up()
            else:
                await self.start()
        except KocoError as exc:
            log.warning("the store cannot be read yet: %s", exc)

    async def _load_settings(self) -> None:
        self._parts.settings.change(await self._parts.store.settings.all())

    async def _load_limits(self) -> None:
        await self._parts.supervisor.overrides.load()

    async def _load_releases(self) -> None:
        """Make the catalog as the deployer has it: see `Deployer.recover`."""
        catalog, services = self._parts.catalog, set()
        known = {each.service: each.number for each in catalog.releases()}
        for release in await self._parts.store.releases.present():
            if release.status == "live":
                services.add(release.service)
                if known.get(release.service) != release.number:
                    catalog.put(release)
            elif release.status != "starting":
                services.add(release.service)
                catalog.close(release)
        for service in known.keys() - services:
            catalog.remove(service)
