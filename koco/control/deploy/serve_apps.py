"""The Serve applications of live releases: brought up, put back, and removed in the end.

Each release has an application of its own, as it has runners of its own: so a release
that fails leaves the former one's alone, and what validates an execution's inputs is of
the same code as what runs it.
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
from koco.store.protocol import Store

log = logging.getLogger(__name__)

#: How often applications that nothing needs any more are looked for (seconds).
_SWEEP_S = 1.0
#: How long one that nothing needs stays: a request may be on its way to it (seconds).
_STAY_S = 5.0
#: How often those that somebody else has removed are looked for (seconds).
_HEAL_S = 5.0
#: How long a deploy that changes nothing waits for one that is put back (seconds).
_REPAIR_S = 30.0
#: Pauses before another try to bring up a live release's application (seconds).
_AGAIN_S = (1.0, 5.0, 15.0, 60.0)


class Applications:
    """The applications that services' own endpoints run as."""

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
        self._catalog = catalog
        self._make = make
        #: Why a live release's own endpoint is not up, by service.
        self.troubles: dict[str, str] = {}
        #: What somebody else made of live releases' applications.
        self.drift = Drift(store, serve, application=make)
        self._tasks = Tasks("the applications")
        self._returning: dict[tuple[str, int], asyncio.Task[None]] = {}
        #: Of these, those that were asked for once more, and may be configured otherwise by now.
        self._again: set[tuple[str, int]] = set()
        #: When each application was needed last, by its name (monotonic seconds).
        self._needed_at: dict[str, float] = {}
        #: Those of releases that were given up before they served.
        self._given_up: set[str] = set()

    async def bring_up(self, release: Release) -> None:
        """Put a release's application there, and return once it runs; see `Serve.bring_up`."""
        await self._serve.bring_up(await self._make(release))

    def give_up(self, release: Release) -> None:
        """Remove the application of a release that never went live: nobody asks it anything."""
        if release.manifest.get("app") is not None:
            name = name_of(release.service, release.number)
            self._given_up.add(name)
            self._tasks.spawn(self._sweep_now(name))

    async def _sweep_now(self, name: str) -> None:
        try:
            await self._serve.sweep(self._is_needed)
        except KocoError as exc:  # the sweep that goes on for ever tries again
            log.warning("the Serve application %s stays for now: %s", name, exc.message)

    def said(self, release: Release) -> str | None:
        """Return Serve's last word on a release's application that did not run then."""
        return self._serve.said.get(name_of(release.service, release.number))

    async def repair(self, release: Release) -> None:
        """Put a live release's application back as it was, where somebody else changed it.

        What goes wrong is told in `troubles`, and tried again.
        """
        if release.app is not None:
            await asyncio.wait({self.bring_back(release)}, timeout=_REPAIR_S)

    async def heal(self) -> None:
        """Put back what somebody else has removed of live releases' applications, for ever.

        What was changed stays so until the next deploy: somebody may have had to.
        """
        while True:
            await asyncio.sleep(_HEAL_S)
            try:
                for release in await self.drift.removed():
                    log.warning("the endpoint of %s was removed; it comes back", release.service)
                    self.bring_back(release)
            except KocoError as exc:
                log.warning("could not look for removed Serve applications: %s", exc.message)

    def bring_back(self, release: Release) -> "asyncio.Task[None]":
        """See, once at a time, that a live release's application is there; return the task."""
        key = (release.service, release.number)
        if task := self._returning.get(key):
            self._again.add(key)
        else:
            task = self._returning[key] = self._tasks.spawn(self._bring_back(release))
            task.add_done_callback(lambda _: self._returning.pop(key, None))
        return task

    async def _bring_back(self, release: Release) -> None:
        """See that a live release's application is there, as it is unless the head is a new one."""
        for pause_s in itertools.chain(_AGAIN_S, itertools.repeat(_AGAIN_S[-1])):
            try:
                application = await self._make(release)
                if not await self._serve.bring_up(
                    application, is_wanted=lambda: self._is_live(release)
                ):
                    self._again.discard((release.service, release.number))
                    return  # another one has taken over while this one waited for its turn
            except KocoError as exc:
                if not self._is_live(release):
                    return
                self.troubles[release.service] = exc.message
                log.warning("the endpoint of %s is not up: %s", release.service, exc.message)
                await asyncio.sleep(pause_s)
            else:
                self.troubles.pop(release.service, None)
                if (key := (release.service, release.number)) not in self._again:
                    return
                self._again.remove(key)

    def _is_live(self, release: Release) -> bool:
        try:
            return self._catalog.release(release.service).number == release.number
        except KocoError:
            return False

    async def sweep(self) -> None:
        """Remove applications of releases that have no runners any more, for ever.

        A release's pool goes when its last execution has ended: until then, its locks
        are answered by its own code.
        """
        is_known = False
        while True:
            try:
                if not is_known:
                    await self._serve.look()
                    is_known = True
                await self._serve.sweep(self._is_needed)
            except KocoError as exc:
                log.warning("could not look after Serve applications: %s", exc.message)
            await asyncio.sleep(_SWEEP_S)

    def _is_needed(self, name: str) -> bool:
        """Say whether an application is needed now, or was until a moment ago."""
        if name in self._given_up:
            return False
        now = time.monotonic()
        for key in self._supervisor.pools:
            self._needed_at[name_of(*key)] = now
        return now - self._needed_at.get(name, -math.inf) < _STAY_S
