"""What is deployed: releases made, gone back to, and taken away.

A release under way is a row: a restarted control plane takes it up again. To undeploy is
one commit, too: what served is retired, and everything else follows from that, as it does
where another release takes over.
"""

import asyncio
import logging
from typing import Any, Literal

from koco.control import fair_turns
from koco.control.deploy.probation import Probations
from koco.control.deploy.release_moves import Moves
from koco.control.deploy.rollout import Mask, Rollouts, Watch
from koco.control.deploy.serve_apps import Applications
from koco.control.deploy.serve_drift import Drift
from koco.control.executions.supervisor import Supervisor
from koco.control.runners.pool import Pool
from koco.control.services.bundles import Bundles
from koco.control.services.catalog import Catalog
from koco.control.tasks import Tasks
from koco.errors import ConflictError, NotFoundError
from koco.manifest import differences
from koco.store.model import Release
from koco.store.protocol import Store

log = logging.getLogger(__name__)

#: How long a release may take to become ready before it counts as failed (seconds).
READY_S = 600.0
#: How long executions may take over ending where they are cancelled (seconds).
GRACE_S = 5.0

#: What undeploying a service does about executions that have not ended.
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
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._bundles = bundles
        self._applications = applications
        self._rollouts = Rollouts(
            store, supervisor, catalog, applications=applications, mask=mask, watch=watch
        )
        #: Why a service does not serve as it should, by its name.
        self.troubles = applications.troubles
        self._moves = Moves(store, supervisor, catalog)
        self._probations = Probations(
            store, supervisor, bundles=bundles, troubles=self.troubles, deploy=self.deploy
        )
        self._rollouts.on_live = self._went_live
        supervisor.on_pool = self._heed
        self._tasks = Tasks("the deployer")
        #: Held while a deploy looks at what there is: of two alike one makes a release.
        self._deciding = asyncio.Lock()

    async def recover(self) -> None:
        """Enter what is live, and take up releases that were under way."""
        for release in await self._store.present_releases():
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
        """What somebody else made of live releases' applications."""
        return self._applications.drift

    def renew(self, release: Release) -> None:
        """Have the processes of a release replaced, without ending what runs in them."""
        if pool := self._supervisor.pools.get((release.service, release.number)):
            pool.refresh()
        if release.status == "live" and release.app is not None:
            self._applications.bring_back(release)

    async def repair(self, release: Release) -> None:
        """Put a live release's application back as it was, where somebody else changed it."""
        await self._applications.repair(release)

    async def deploy(
        self,
        manifest: dict[str, Any],
        *,
        bundle: str,
        by: str,
        timeout_s: float = READY_S,
        origin: dict[str, Any] | None = None,
        fallback: bool = True,
        expect: int | None = None,
    ) -> tuple[Release, bool]:
        """Begin a release; return it, and whether it is the live one, unchanged.

        `manifest` has been checked. `origin` says where it comes from; without `fallback`
        the former release does not serve where this one fails.

        A release of the same that was on its way as number `expect`, and has failed meanwhile, is
        the answer, too: whoever deploys again waits for that one.

        Raises:
            ConflictError: the release that it would replace is not number `expect`, 0 for none.
            NotFoundError: the bundle is not here.
        """
        service = manifest["service"]
        fingerprint = differences.fingerprint(manifest, bundle)
        async with self._deciding, self._bundles.held(bundle):
            last = await self._last(service)
            if last is not None and _fingerprint(last) == fingerprint:
                # Or somebody else is deploying the same.
                return last, last.status == "live"
            coming = await self._release(service, expect)
            if coming and coming.error is not None and _fingerprint(coming) == fingerprint:
                return coming, False
            await self._expect(expect, service, last)
            upload_s = round(self._bundles.took_s(bundle), 3)
            timings = {"upload": upload_s} if upload_s else {}
            superseded = await self._coming(service)
            release = await self._store.create_release(
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
        """End a release under way that a newer one has superseded, unless it went live before."""
        now = await self._store.release(former.service, former.number)
        if now.status == "failed":
            log.info("release %s/%s is superseded", former.service, former.number)
            self._rollouts.stop(former)

    async def target(self, service: str, number: int | None) -> Release:
        """Return the release that a rollback goes back to: a number, or the last one that served.

        Raises:
            NotFoundError: there is no such release, or none before what serves.
            ConflictError: it is the live one, or is starting; or its bundle has been collected.
        """
        coming = await self._coming(service)
        if number is None:
            found = await self.former(service)
        else:
            found = await self._store.release(service, number)
        if found is None:
            raise NotFoundError(
                f"{service} has no release that served before", hint=f"`koco releases {service}`"
            )
        if found.status == "starting" or (found.status == "live" and not coming):
            what = "is the live one" if found.status == "live" else "is still starting"
            raise ConflictError(
                f"release {found.number} of {service} {what}",
                hint=f"`koco releases {service}` lists the others",
            )
        self._require_bundle(found)
        return found

    async def former(self, service: str) -> Release | None:
        """Return the release that a rollback goes back to where no number is given.

        Before what serves comes what served last. From a release on its way, the way back is to
        what serves; from a rollback on its way it is that one's: asked again, it is the same.
        """
        coming = await self._coming(service)
        if coming and (number := coming[-1].origin.get("rollback_of")):
            return await self._store.release(service, number)
        if coming and (live := await self._store.live_release(service)):
            return live
        return await self._store.former_release(service)

    async def _coming(self, service: str) -> list[Release]:
        return [r for r in await self._store.releases("starting") if r.service == service]

    def _require_bundle(self, release: Release) -> None:
        if not self._bundles.has(release.bundle):
            commit = str(release.origin.get("commit", ""))[:12]
            again = f"deploy commit {commit} again" if commit else "deploy that code again"
            raise ConflictError(
                f"the bundle of release {release.number} of {release.service} has been collected",
                hint=f"{again}; `koco up --set keep_releases=N` keeps more of them",
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
        """Begin a release that is as a former one was; see `deploy`."""
        return await self.deploy(
            target.manifest,
            bundle=target.bundle,
            by=by,
            timeout_s=timeout_s,
            origin={**_origin(target), "rollback_of": target.number},
            fallback=fallback,
            expect=expect,
        )

    def _heed(self, release: Release, pool: Pool) -> None:
        """Hear of runners of a release that die or do not start."""

        def lost(cause: str, had_work: bool) -> None:
            self._probations.lost(release, cause, had_work)
            self._moves.lost(release, pool)

        pool.on_loss = lost

    def _went_live(self, release: Release) -> None:
        self._probations.watch(release)
        self._moves.after(release)

    async def undeploy(
        self,
        service: str,
        *,
        by: str,
        running: Running = "refuse",
        grace_s: float = GRACE_S,
        expect: int | None = None,
    ) -> list[Release]:
        """Take away what a service has; return what that was, which is nothing the second time.

        What runs is `running`'s to decide: then it is not done, or ends as usual, or is cancelled.

        Raises:
            ConflictError: executions have not ended, and that is to `refuse`; or what it has
                is not the release number `expect`.
            NotFoundError: no such service was ever deployed.
        """
        error = {"message": f"{by} undeployed {service} meanwhile", "detail": None, "hint": None}
        async with self._deciding:
            await self._expect(expect, service, await self._last(service))
            ended = await self._store.undeploy(
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
            if running == "cancel":
                # Once more: what was being launched meanwhile is committed by now.
                await self._supervisor.cancel_all(service, grace_s=grace_s)
        return ended

    async def replaced(self, service: str) -> int:
        """Return the number of what a release of a service would replace, 0 for none: `expect`."""
        last = await self._last(service)
        return last.number if last else 0

    async def _last(self, service: str) -> Release | None:
        """Return what a service has, or comes to: going back to the live one is a release, too,
        while another is on its way.
        """
        coming = await self._coming(service)
        return coming[-1] if coming else await self._store.live_release(service)

    async def _release(self, service: str, number: int | None) -> Release | None:
        try:
            return await self._store.release(service, number) if number else None
        except NotFoundError:
            return None

    async def _expect(self, number: int | None, service: str, last: Release | None) -> None:
        """Raise `ConflictError` where somebody has changed a service; None expects nothing."""
        if number is None or number == (last.number if last else 0):
            return
        if await self._has_only_failed(service, number, last):
            return
        now = (
            f"release {last.number} of {last.by} is there" if last else "it has no release any more"
        )
        raise ConflictError(
            f"{service} has changed meanwhile: {now}",
            hint=f"it is left as it is; `koco plan` and `koco releases {service}` show how that is",
        )

    async def _has_only_failed(self, service: str, number: int, last: Release | None) -> bool:
        """Say whether a release was on its way, and all that has happened is that it failed."""
        failed = await self._release(service, number)
        # A time at which it was retired tells of somebody who superseded or undeployed it.
        if failed is None or failed.status != "failed" or failed.retired is not None:
            return False
        newest = (await self._store.history(service, limit=1)).items[0]
        if newest.number != number:
            return False
        if last is not None or not failed.fallback:
            return True
        former = await self._store.former_release(service)
        return former is None or (former.retired or "") < failed.created

    async def waits_for(self, release: Release) -> str | None:
        """Say what a release that is starting waits for, with who holds it; None for nothing."""
        return await self._rollouts.waits_for(release)

    async def doing(self, release: Release) -> str | None:
        """Say what is being done for a release that is starting."""
        return await self._rollouts.doing(release)

    async def wait(self, service: str, number: int, *, seconds: float) -> Release:
        """Return a release, after it left `starting` or so many seconds.

        Raises:
            NotFoundError: there is no such release.
        """
        fair_turns.waits()
        await self._rollouts.wait(service, number, seconds=seconds)
        return await self._store.release(service, number)


def _fingerprint(release: Release) -> str:
    """Return a release's fingerprint by what it says, not by the text that was stored.

    An older koco's manifest has fewer keys.
    """
    return differences.fingerprint(release.manifest, release.bundle)


def _origin(release: Release) -> dict[str, Any]:
    """Return where a release comes from, without why koco went back to it, if it did."""
    return {key: value for key, value in release.origin.items() if key != "because"}
