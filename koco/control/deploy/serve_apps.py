"""Brings up, restores and removes the Serve applications of releases.

Each release has its own application, just as it has its own runners. So a failed release does not
affect the former one's application, and an execution's inputs are validated by the same code that
runs it.
"""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable

from koco.cluster.serve import Application, Serve, name_of
from koco.control.deploy.serve_drift import Drift
from koco.control.executions.supervisor import Supervisor
from koco.control.services.catalog import Catalog
from koco.control.tasks import Tasks
from koco.errors import KocoError
from koco.store.model import Release
from koco.store.store import Store

log = logging.getLogger(__name__)

#: How often to look for applications that are not needed any more (seconds).
_SWEEP_S = 1.0
#: How long such an application stays, because a request may be on its way to it (seconds).
_STAY_S = 5.0
#: How often to look for applications that somebody else has removed (seconds).
_HEAL_S = 5.0
#: How long a deploy without changes waits until an application is restored (seconds).
_REPAIR_S = 30.0
#: Pauses between attempts to bring up a live release's application (seconds).
_AGAIN_S = (1.0, 5.0, 15.0, 60.0)


class Applications:
    """The Serve applications of services' own endpoints."""

    def __init__(
        self,
        serve: Serve,
        store: Store,
        *,
        supervisor: Supervisor,
        catalog: Catalog,
        make: Callable[[Release], Awaitable[Application]],
    ) -> None:
        self._serve = serve
        self._supervisor = supervisor
        self._store = store
        self._catalog = catalog
        self._make = make
        #: Why a live release's own endpoint is not up, by service.
        self.troubles: dict[str, str] = {}
        #: Finds applications of live releases that somebody else has changed.
        self.drift = Drift(store, serve, application=make)
        self._tasks = Tasks("the applications")
        self._returning: dict[tuple[str, int], asyncio.Task[None]] = {}
        #: Those that were requested again meanwhile, because their configuration may have changed.
        self._again: set[tuple[str, int]] = set()
        #: When each application was last needed, by its name (monotonic seconds).
        self._needed_at: dict[str, float] = {}
        #: The releases of which parked executions await somebody.
        self._awaited: list[tuple[str, int]] = []
        #: The names of applications whose releases were given up before they served.
        self._given_up: set[str] = set()

    async def bring_up(self, release: Release) -> None:
        """Start a release's application, and return once it runs; see `Serve.bring_up`."""
        await self._serve.bring_up(await self._make(release))

    def give_up(self, release: Release) -> None:
        """Remove the application of a release that never went live.

        This happens at once, because it gets no requests.
        """
        if release.manifest.app is not None:
            name = name_of(release.service, release.number)
            self._given_up.add(name)
            self._tasks.spawn(self._sweep_now(name))

    async def _sweep_now(self, name: str) -> None:
        try:
            await self._serve.sweep(self._is_needed)
        except KocoError as exc:  # the periodic sweep tries again
            log.warning("could not remove the Serve application %s yet: %s", name, exc.message)

    def last_message(self, release: Release) -> str | None:
        """Return Serve's last message on a release's application if it was not running then."""
        return self._serve.messages.get(name_of(release.service, release.number))

    async def repair(self, release: Release) -> None:
        """Restore a live release's application if somebody else has changed it.

        Failures are recorded in `troubles`, and the attempt is repeated.
        """
        if release.app is not None:
            await asyncio.wait({self.bring_back(release)}, timeout=_REPAIR_S)

    async def heal(self) -> None:
        """Restore applications that somebody else has removed, or a new head lacks. Runs for ever.

        It restores those of live releases, and of retired ones whose code is needed to answer
        locks. Changed applications stay changed until the next deploy, because there may be a good
        reason for the change.
        """
        while True:
            await asyncio.sleep(_HEAL_S)
            try:
                for release in await self.drift.removed(await self._retired()):
                    log.warning(
                        "the endpoint of release %s of %s was removed by somebody else;"
                        " restoring it",
                        release.number,
                        release.service,
                    )
                    self.bring_back(release)
            except KocoError as exc:
                log.warning("could not check for removed Serve applications: %s", exc.message)

    async def _retired(self) -> list[Release]:
        """Return the retired releases whose own code may be needed to answer locks."""
        # Without reading those with a live pool, which are not retired: usually, that is all.
        live = {key for key, pool in self._supervisor.pools.items() if pool.is_live}
        found = [await self._store.releases.get(*key) for key in sorted(self._in_use - live)]
        return [each for each in found if each.status == "retired"]

    def bring_back(self, release: Release) -> "asyncio.Task[None]":
        """Start to bring up the application of a release that has served, and return the task.

        There is one task for each release. If one is running already, it runs once more at the end.
        """
        key = (release.service, release.number)
        if task := self._returning.get(key):
            self._again.add(key)
        else:
            task = self._returning[key] = self._tasks.spawn(self._bring_back(release))
            task.add_done_callback(lambda _: self._returning.pop(key, None))
        return task

    async def _bring_back(self, release: Release) -> None:
        """Bring up a release's application, and retry until it runs or is not needed any more.

        An application that Serve has already stays as it is, unless the head is a new one.
        """
        for pause_s in itertools.chain(_AGAIN_S, itertools.repeat(_AGAIN_S[-1])):
            try:
                application = await self._make(release)
                if not await self._serve.bring_up(
                    application, is_wanted=lambda: self._is_wanted(release)
                ):
                    self._again.discard((release.service, release.number))
                    return  # it has been retired, or has ended, while it waited for its turn
            except KocoError as exc:
                if not self._is_wanted(release):
                    return
                if self._is_live(release):
                    self.troubles[release.service] = exc.message
                log.warning("the endpoint of %s is not up: %s", release.service, exc.message)
                await asyncio.sleep(pause_s)
            else:
                if self._is_live(release):
                    self.troubles.pop(release.service, None)
                if (key := (release.service, release.number)) not in self._again:
                    return
                self._again.remove(key)

    def _is_live(self, release: Release) -> bool:
        try:
            return self._catalog.release(release.service).number == release.number
        except KocoError:
            return False

    def _is_wanted(self, release: Release) -> bool:
        if release.status != "retired":
            return self._is_live(release)
        return (release.service, release.number) in self._in_use

    @property
    def _in_use(self) -> set[tuple[str, int]]:
        """The releases with a pool, or of which parked executions await somebody."""
        return {*self._supervisor.pools, *self._awaited}

    async def sweep(self) -> None:
        """Remove applications of releases whose runners are all gone. Runs for ever.

        A release's pool exists until its last execution has ended or is parked. As long as one has
        an open lock, its own code must be there to answer it.
        """
        is_known = False
        while True:
            try:
                if not is_known:
                    await self._serve.look()
                    is_known = True
                self._awaited = await self._store.releases.awaited()
                await self._serve.sweep(self._is_needed)
            except KocoError as exc:
                log.warning("could not remove unneeded Serve applications: %s", exc.message)
            await asyncio.sleep(_SWEEP_S)

    def _is_needed(self, name: str) -> bool:
        """Return True if an application is needed, or was needed in the last `_STAY_S` seconds."""
        if name in self._given_up:
            return False
        now = time.monotonic()
        for key in self._in_use:
            self._needed_at[name_of(*key)] = now
        return now - self._needed_at.get(name, -math.inf) < _STAY_S
