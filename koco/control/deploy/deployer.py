"""Deploys, rolls back and undeploys services.

A release under way is a row in the store, so a restarted control plane continues it. An undeploy is
one commit that retires the live release. Everything else follows from that commit, just as when
another release takes over.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Literal

import msgspec

from koco.control import fair_turns
from koco.control.deploy.probation import Probations
from koco.control.deploy.release_moves import Moves
from koco.control.deploy.rollout import Mask, Rollouts
from koco.control.deploy.serve_apps import Applications
from koco.control.deploy.serve_drift import Drift
from koco.control.deploy.start_watch import Watch
from koco.control.executions.supervisor import Supervisor
from koco.control.runners.losses import Loss
from koco.control.runners.pool import Pool
from koco.control.runners.spares import Spares
from koco.control.services.bundles import Bundles
from koco.control.services.catalog import Catalog
from koco.control.tasks import Tasks
from koco.errors import ConflictError, NotFoundError
from koco.manifest import differences, load
from koco.store.model import Release, ReleaseFailure, ReleaseOrigin
from koco.store.store import Store

if TYPE_CHECKING:
    from koco.manifest.model import Manifest

log = logging.getLogger(__name__)

#: How long a release may take to become ready before it counts as failed (seconds).
READY_S = 600.0
#: How long cancelled executions may take to end (seconds).
GRACE_S = 5.0

#: How an undeploy treats executions that have not ended.
Running = Literal["refuse", "cancel", "drain"]


class Deployer:
    """Makes releases, one at a time for each service."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        catalog: Catalog,
        *,
        bundles: Bundles,
        applications: Applications,
        mask: Mask | None = None,
        watch: Watch | None = None,
        spares: Spares | None = None,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._bundles = bundles
        self._applications = applications
        self._rollouts = Rollouts(
            store, supervisor, catalog, applications=applications, mask=mask, watch=watch
        )
        #: Why a service does not serve as it should, by service name.
        self.troubles = applications.troubles
        self._moves = Moves(store, supervisor, catalog)
        self._probations = Probations(
            store, supervisor, bundles=bundles, troubles=self.troubles, deploy=self.deploy
        )
        self._rollouts.on_live = self._went_live
        self._spares = spares
        if spares is not None:
            self._rollouts.on_failed = spares.settled
        supervisor.on_pool = self._heed
        self._tasks = Tasks("the deployer")
        #: Held while a deploy compares itself with existing releases, so that only one of two
        #: equal deploys makes a release.
        self._deciding = asyncio.Lock()

    async def recover(self) -> None:
        """Add live releases to the catalog, and continue releases that were under way."""
        for release in await self._store.releases.present():
            if release.status == "live":
                self._catalog.put(release)
                await self._probations.recover(release)
                if release.app is not None:
                    self._applications.bring_back(release)
            elif release.status == "starting":
                self._rollouts.begin(release, READY_S)
            else:
                self._rollouts.close(release)
        for release in self._catalog.releases():
            self._moves.after(release)
        self._tasks.keep(self._applications.sweep)
        self._tasks.keep(self._applications.heal)

    @property
    def drift(self) -> Drift:
        """Finds applications of live releases that somebody else has changed."""
        return self._applications.drift

    def renew(self, release: Release) -> None:
        """Replace the processes of a release. Executions that run in them go on."""
        if pool := self._supervisor.pools.get((release.service, release.number)):
            pool.refresh()
        if release.status == "live" and release.app is not None:
            self._applications.bring_back(release)

    async def repair(self, release: Release) -> None:
        """Restore a live release's application if somebody else has changed it."""
        await self._applications.repair(release)

    async def deploy(
        self,
        manifest: "Manifest",
        *,
        bundle: str,
        by: str,
        timeout_s: float = READY_S,
        origin: ReleaseOrigin = ReleaseOrigin(),  # noqa: B008 - it is frozen
        fallback: bool = True,
        expect: int | None = None,
    ) -> tuple[Release, bool]:
        """Begin a release. Return it, and True if it is the unchanged live one.

        `manifest` must have been checked. Without `fallback`, the former release does not serve if
        this one fails.

        If release `expect` has the same manifest and bundle and has failed meanwhile, it is
        returned, because a client that deploys again waits for that release.

        Raises:
            ConflictError: The release to replace is not number `expect` (0 for no release).
            NotFoundError: The bundle is not here.
        """
        service = manifest.service
        fingerprint = differences.fingerprint(load.to_data(manifest), bundle)
        async with self._deciding, self._bundles.hold(bundle):
            last = await self._last(service)
            if last is not None and _fingerprint(last) == fingerprint:
                # If it is not live, somebody else is deploying the same.
                return last, last.status == "live"
            coming = await self._release(service, expect)
            if coming and coming.error is not None and _fingerprint(coming) == fingerprint:
                return coming, False
            await self._expect(expect, service, last)
            upload_s = round(self._bundles.took_s(bundle), 3)
            timings = {"upload": upload_s} if upload_s else {}
            if self._spares is not None:
                self._spares.hold_off(service)
            superseded = await self._coming(service)
            release = await self._store.releases.create(
                service,
                bundle=bundle,
                fingerprint=fingerprint,
                manifest=manifest,
                by=by,
                origin=origin,
                timings=timings,
                fallback=fallback,
            )
            for former in superseded:
                await self._give_way(former)
            self._rollouts.begin(release, timeout_s)
            return release, False

    async def _give_way(self, former: Release) -> None:
        """Stop a release that a newer one has superseded, unless it went live first."""
        now = await self._store.releases.get(former.service, former.number)
        if now.status == "failed":
            log.info("release %s/%s is superseded", former.service, former.number)
            self._rollouts.stop(former)

    async def target(self, service: str, number: int | None) -> Release:
        """Return the target of a rollback: release `number`, or the last one that served if None.

        Raises:
            NotFoundError: There is no such release, or none that served before the live one.
            ConflictError: It is live or starting, or its bundle has been collected.
        """
        coming = await self._coming(service)
        if number is None:
            found = await self.former(service)
        else:
            found = await self._store.releases.get(service, number)
        if found is None:
            raise NotFoundError(
                f"{service} has no earlier release that served", hint=f"`koco releases {service}`"
            )
        if found.status == "starting" or (found.status == "live" and not coming):
            what = "is the live one" if found.status == "live" else "is still starting"
            raise ConflictError(
                f"release {found.number} of {service} {what}",
                hint=f"`koco releases {service}` lists the others",
            )
        await self._require_bundle(found)
        return found

    async def former(self, service: str) -> Release | None:
        """Return the target of a rollback without a number, or None.

        This is the last release that served before the live one. If a release is starting, it is
        the live one. If a rollback is starting, it is the target of that rollback, so that a
        repeated request gets the same answer.
        """
        coming = await self._coming(service)
        if coming and (number := coming[-1].origin.rollback_of):
            return await self._store.releases.get(service, number)
        if coming and (live := await self._store.releases.live(service)):
            return live
        return await self._store.releases.former(service)

    async def _coming(self, service: str) -> list[Release]:
        return [
            r for r in await self._store.releases.with_status("starting") if r.service == service
        ]

    async def _require_bundle(self, release: Release) -> None:
        if not await self._bundles.has(release.bundle):
            commit = (release.origin.commit or "")[:12]
            again = f"deploy commit {commit} again" if commit else "deploy that code again"
            raise ConflictError(
                f"the bundle of release {release.number} of {release.service} has been collected",
                hint=f"{again}; `koco up --set keep_releases=N` keeps more bundles",
            )

    async def rollback(
        self,
        target: Release,
        *,
        by: str,
        timeout_s: float = READY_S,
        fallback: bool = True,
        expect: int | None = None,
    ) -> tuple[Release, bool]:
        """Begin a release with the manifest and bundle of a former one; see `deploy`."""
        return await self.deploy(
            target.manifest,
            bundle=target.bundle,
            by=by,
            timeout_s=timeout_s,
            origin=msgspec.structs.replace(target.origin, rollback_of=target.number, because=None),
            fallback=fallback,
            expect=expect,
        )

    def _heed(self, release: Release, pool: Pool) -> None:
        """Report lost runners of a release to the probations and the moves."""

        def lost(loss: Loss) -> None:
            self._probations.lost(release, loss)
            self._moves.lost(release, pool, loss)

        pool.on_loss = lost

    def _went_live(self, release: Release) -> None:
        self._probations.watch(release)
        self._moves.after(release)
        if self._spares is not None:
            self._spares.settled(release)

    async def undeploy(
        self,
        service: str,
        *,
        by: str,
        running: Running = "refuse",
        grace_s: float = GRACE_S,
        expect: int | None = None,
    ) -> list[Release]:
        """Undeploy a service. Return the releases that this ended; none the second time.

        If executions have not ended, `running` decides: `refuse` raises, `drain` lets them end as
        usual, and `cancel` cancels them.

        Raises:
            ConflictError: Executions have not ended and `running` is `refuse`, or the service's
                release is not number `expect`.
            NotFoundError: The service was never deployed.
        """
        error = ReleaseFailure(message=f"{by} undeployed {service} meanwhile")
        async with self._deciding:
            await self._expect(expect, service, await self._last(service))
            ended = await self._store.releases.undeploy(
                service,
                error,
                beside_running=running != "refuse",
                cancel_grace_s=grace_s if running == "cancel" else None,
            )
            for release in ended:
                self._rollouts.stop(release)
            log.info("%s undeployed %s: %s", by, service, [release.number for release in ended])
            self._catalog.remove(service)
            self.troubles.pop(service, None)
            self._supervisor.retire(service)
            if self._spares is not None:
                self._spares.drop(service)
            if running == "cancel":
                # Cancel again, because launches that were under way are committed by now.
                await self._supervisor.cancel_all(service, grace_s=grace_s)
        return ended

    async def replaced(self, service: str) -> int:
        """Return the number of the release that a deploy would replace, 0 for none.

        This is the value for `expect`.
        """
        last = await self._last(service)
        return last.number if last else 0

    async def _last(self, service: str) -> Release | None:
        """Return the newest starting release of a service, or else the live one.

        While another release is starting, going back to the live one takes a new release.
        """
        coming = await self._coming(service)
        return coming[-1] if coming else await self._store.releases.live(service)

    async def _release(self, service: str, number: int | None) -> Release | None:
        try:
            return await self._store.releases.get(service, number) if number else None
        except NotFoundError:
            return None

    async def _expect(self, number: int | None, service: str, last: Release | None) -> None:
        """Raise `ConflictError` if the service's release is not `number`. None allows any."""
        if number is None or number == (last.number if last else 0):
            return
        if await self._has_only_failed(service, number, last):
            return
        now = f"it has release {last.number} by {last.by}" if last else "it no longer has a release"
        raise ConflictError(
            f"{service} has changed meanwhile: {now}",
            hint=f"nothing was changed; `koco plan` and `koco releases {service}` show its state",
        )

    async def _has_only_failed(self, service: str, number: int, last: Release | None) -> bool:
        """Return True if nothing has happened since, except that release `number` failed."""
        failed = await self._release(service, number)
        # It has a retirement time only if somebody superseded or undeployed it.
        if failed is None or failed.status != "failed" or failed.retired is not None:
            return False
        newest = (await self._store.releases.page(service, limit=1)).items[0]
        if newest.number != number:
            return False
        if last is not None or not failed.fallback:
            return True
        former = await self._store.releases.former(service)
        return former is None or (former.retired or "") < failed.created

    async def waits_for(self, release: Release) -> str | None:
        """Return what a starting release waits for and who holds it, or None."""
        return await self._rollouts.waits_for(release)

    async def doing(self, release: Release) -> str | None:
        """Return the current step of a starting release, or None."""
        return await self._rollouts.doing(release)

    async def wait(self, service: str, number: int, *, seconds: float) -> Release:
        """Return a release as soon as it has left `starting`, or after `seconds`.

        Raises:
            NotFoundError: There is no such release.
        """
        fair_turns.yield_turn()
        await self._rollouts.wait(service, number, seconds=seconds)
        return await self._store.releases.get(service, number)


def _fingerprint(release: Release) -> str:
    """Compute a release's fingerprint from its manifest and bundle.

    The stored fingerprint is not used, because an older koco's manifest has fewer keys.
    """
    return differences.fingerprint(load.to_data(release.manifest), release.bundle)
