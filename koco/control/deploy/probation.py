"""Probation: the first minute of a live release. If its runners keep dying, it is broken.

A process may end shortly after its imports worked, because of a signal, a thread that a module
started, or a library that fails on first use. A release has proven that it works as soon as one
of its executions has finished.

koco rolls back from a broken release automatically, as `koco rollback` would, but only once: if
the release made by this rollback is broken as well, it stays live. The release's row records that
it is broken. So if the control plane dies in between, it rolls back after its restart.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from koco.control.executions.supervisor import Supervisor
from koco.control.runners.losses import Loss, Losses
from koco.control.runners.pool import Pool
from koco.control.services.bundles import Bundles
from koco.control.tasks import Tasks, surely
from koco.errors import KocoError
from koco.store.model import AuditEntry, Release, ReleaseFailure
from koco.store.store import Store

log = logging.getLogger(__name__)

#: The name of the user in lists and in the audit log for automatic rollbacks.
WHO = "koco"

#: How long a release is watched after it went live (seconds).
PROBATION_S = 60.0
#: A release is broken if this many idle runners, or this many runners in all, die in that time,
#: each with other executions.
_IDLE, _ALL = 2, 3


class Probation:
    """Watches one release's pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._losses = Losses()
        self._news = asyncio.Event()

    def lost(self, loss: Loss) -> None:
        """Record that a runner died or did not start."""
        if "its node was lost" in loss.cause:
            return  # not the release's fault
        self._losses.add(loss)
        self._news.set()

    async def verdict(self, *, seconds: float = PROBATION_S) -> str | None:
        """Return why a release is broken, as soon as this is known, or None if it works."""
        until = time.monotonic() + seconds
        while not self._pool.has_proven and self._pool.is_live:
            if self._is_broken:
                return self._reason(seconds)
            if self._losses.count:
                # The pool may not need a runner now, but without one nothing tests the release.
                self._pool.try_again()
            try:
                self._news.clear()
                await asyncio.wait_for(self._news.wait(), until - time.monotonic())
            except TimeoutError:
                return None
        return None

    @property
    def _is_broken(self) -> bool:
        return self._losses.idle >= _IDLE or self._losses.count >= _ALL

    def _reason(self, seconds: float) -> str:
        return (
            f"{self._losses.count} of its runners died or did not start within {seconds:g} s, and"
            f" none had finished an execution: {self._losses.cause}"
        )


class Probations:
    """Watches releases that have just gone live, and rolls back from broken ones."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        *,
        bundles: Bundles,
        troubles: dict[str, str],
        deploy: Callable[..., Awaitable[tuple[Release, bool]]],
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._bundles = bundles
        self._troubles = troubles
        self._deploy = deploy
        self._watched: dict[tuple[str, int], Probation] = {}
        self._tasks = Tasks("the probations")

    def lost(self, release: Release, loss: Loss) -> None:
        """Record that a runner of a release died or did not start."""
        if probation := self._watched.get((release.service, release.number)):
            probation.lost(loss)

    def watch(self, live: Release) -> None:
        """Watch a live release for the rest of its first minute, if any is left."""
        key = (live.service, live.number)
        age_s = time.time() - datetime.fromisoformat(live.ready).timestamp() if live.ready else 0.0
        if age_s < PROBATION_S:
            self._watched[key] = Probation(self._supervisor.pool(live))
            task = self._tasks.spawn(self._prove(live, PROBATION_S - max(0.0, age_s)))
            task.add_done_callback(lambda _: self._watched.pop(key, None))

    async def recover(self, live: Release) -> None:
        """Continue the probation or rollback that the last control plane process began."""
        if live.error is None:
            self.watch(live)
            return
        self._tell(live, live.error.message)
        newest = (await self._store.releases.page(live.service, limit=1)).items[0]
        target = await self._way_back(live)
        if newest.number == live.number and target is not None:
            self._tasks.spawn(self._return_to(target, live))

    async def _prove(self, release: Release, seconds: float) -> None:
        probation = self._watched[release.service, release.number]
        if cause := await probation.verdict(seconds=seconds):
            await self._go_back(release, cause)

    async def _go_back(self, broken: Release, cause: str) -> None:
        service, number = broken.service, broken.number
        target = await self._way_back(broken)
        if target is None:
            what = "there is no other release to roll back to, and koco keeps trying"
        else:
            what = f"koco rolls back to release {target.number}"
        log.warning("release %s/%s is broken; %s: %s", service, number, what, cause)
        error = ReleaseFailure(
            message=f"{cause}; {what}",
            hint="does a module end the process, now or a little later, as in a thread?",
        )
        marked = await surely(lambda: self._store.releases.mark_broken(service, number, error))
        if marked.status != "live":
            return  # somebody has deployed or undeployed just now
        self._tell(broken, f"{cause}; {what}")
        detail = {"cause": cause, **({"release": target.number} if target else {})}
        action = "go_back" if target else "broken"
        entry = AuditEntry(action=action, who=WHO, target=f"{service}/{number}", detail=detail)
        await surely(lambda: self._store.audit.add([entry]))
        if target is not None:
            await self._return_to(target, broken)

    async def _return_to(self, target: Release, broken: Release) -> None:
        origin = msgspec.structs.replace(
            target.origin,
            rollback_of=target.number,
            because=f"release {broken.number} is broken",
        )
        try:
            await self._deploy(
                target.manifest, bundle=target.bundle, by=WHO, origin=origin, expect=broken.number
            )
        except KocoError as exc:
            # Somebody has deployed meanwhile, and their deploy takes precedence.
            log.warning("did not roll back from %s/%s: %s", broken.service, broken.number, exc)

    async def _way_back(self, broken: Release) -> Release | None:
        if broken.origin.because:
            return None  # it is an automatic rollback itself: going to and fro would not help
        former = await self._store.releases.former(broken.service)
        if former is None or former.fingerprint == broken.fingerprint:
            return None
        return former if await self._bundles.has(former.bundle) else None

    def _tell(self, broken: Release, message: str) -> None:
        self._troubles[broken.service] = f"release {broken.number} is broken: {message}"
