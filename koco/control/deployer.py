"""Releases: from starting to live or failed.

A release goes live when a runner of it has built its environment and imported
every entrypoint, and when its own endpoint, if it has one, runs as a Serve
application. Until then, and for ever if it fails, the former one serves.
A release under way is a row: a restarted control plane takes it up again.

To undeploy is one commit, too: what served is retired, and everything else follows from
that, as it does where another release takes over.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from koco.control import timetable, verdicts
from koco.control.applications import Applications
from koco.control.bundles import Bundles
from koco.control.catalog import Catalog, closed_by
from koco.control.drift import Drift
from koco.control.supervisor import Supervisor
from koco.control.tasks import Tasks, surely
from koco.errors import ConflictError, NotFoundError
from koco.manifest import plan
from koco.runner.spec import Description
from koco.store.model import Release
from koco.store.protocol import Store

log = logging.getLogger(__name__)

#: How long a release may take to become ready before it counts as failed (seconds).
READY_S = 600.0
#: How long executions may take over ending where they are cancelled (seconds).
GRACE_S = 5.0

#: What undeploying a service does about executions that have not ended.
Running = Literal["refuse", "cancel", "drain"]
#: Takes the values of a release's secrets out of what its failure says.
Mask = Callable[[Release, dict[str, Any]], Awaitable[dict[str, Any]]]


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
        unplaced: Callable[[Release], Awaitable[str | None]] | None = None,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._bundles = bundles
        self._applications = applications
        self._mask = mask
        #: Says why no node takes a release's runner, where none does.
        self._unplaced = unplaced
        #: Why a service does not serve as it should, by its name.
        self.troubles = applications.troubles
        self._tasks = Tasks("the deployer")
        #: Held while a deploy looks at what there is: of two alike one makes a release.
        self._deciding = asyncio.Lock()
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._under_way: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def recover(self) -> None:
        """Enter what is live, and take up releases that were under way."""
        for release in await self._store.present_releases():
            if release.status == "live":
                self._catalog.put(release)
                if release.app is not None:
                    self._applications.bring_back(release)
            elif release.status == "starting":
                self._begin(release, READY_S)
            else:
                self._close(release)
        self._tasks.spawn(self._applications.sweep())
        self._tasks.spawn(self._applications.heal())

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

        Raises:
            ConflictError: the release that it would replace is not number `expect`, 0 for none.
            NotFoundError: the bundle is not here.
        """
        service = manifest["service"]
        fingerprint = plan.fingerprint(manifest, bundle)
        async with self._deciding, self._bundles.held(bundle):
            last = await self._last(service)
            # By what it says, not by the text that was stored: an older koco's has fewer keys.
            if last is not None and plan.fingerprint(last.manifest, last.bundle) == fingerprint:
                # Or somebody else is deploying the same.
                return last, last.status == "live"
            _expect(expect, service, last)
            upload_s = round(self._bundles.took_s(bundle), 3)
            timings = {"upload": upload_s} if upload_s else {}
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
            self._begin(release, timeout_s)
            return release, False

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
        """Return the release that served before, or that serves while another is on its way."""
        if await self._coming(service) and (live := await self._store.live_release(service)):
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
        self, target: Release, *, by: str, timeout_s: float = READY_S, fallback: bool = True
    ) -> tuple[Release, bool]:
        """Begin a release that is as a former one was; see `deploy`."""
        return await self.deploy(
            target.manifest,
            bundle=target.bundle,
            by=by,
            timeout_s=timeout_s,
            origin={**target.origin, "rollback_of": target.number},
            fallback=fallback,
        )

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
            _expect(expect, service, await self._last(service))
            ended = await self._store.undeploy(service, error, beside_running=running != "refuse")
            for release in ended:
                if task := self._under_way.get((service, release.number)):
                    task.cancel()
                if release.status == "starting":
                    self._supervisor.drop(release)
            self._catalog.remove(service)
            self.troubles.pop(service, None)
            self._supervisor.retire(service)
        if running == "cancel":
            await self._supervisor.cancel_all(service, grace_s=grace_s)
        return ended

    async def _last(self, service: str) -> Release | None:
        """Return what a service has, or comes to: going back to the live one is a release, too,
        while another is on its way.
        """
        coming = [r for r in await self._store.releases("starting") if r.service == service]
        return coming[-1] if coming else await self._store.live_release(service)

    async def waits_for(self, release: Release) -> str | None:
        """Say what a release that is starting may wait for, as far as Serve and Ray know."""
        if said := self._applications.said(release):
            return said
        return None if self._unplaced is None else await self._unplaced(release)

    async def wait(self, service: str, number: int, *, seconds: float) -> Release:
        """Return a release, after it left `starting` or so many seconds.

        Raises:
            NotFoundError: there is no such release.
        """
        if task := self._under_way.get((service, number)):
            await asyncio.wait({task}, timeout=seconds)
        return await self._store.release(service, number)

    def _begin(self, release: Release, timeout_s: float) -> None:
        key = (release.service, release.number)
        task = self._tasks.spawn(self._bring_up(release, timeout_s))
        self._under_way[key] = task
        task.add_done_callback(lambda _: self._under_way.pop(key, None))

    async def _bring_up(self, release: Release, timeout_s: float) -> None:
        async with self._turns[release.service]:
            timings = dict(release.timings)
            try:
                async with asyncio.timeout(timeout_s):
                    description = await self._start(release, timings)
                    error = verdicts.of_imports(description) or await timetable.problem(
                        release.manifest, _flows(release, description)
                    )
            except Exception as exc:  # noqa: BLE001 - whatever it was, the release has failed
                log.info("release %s/%s: %r", release.service, release.number, exc)
                said = self._applications.said(release)
                is_late = said is None and isinstance(exc, TimeoutError)
                unplaced = await self.waits_for(release) if is_late else None
                error = verdicts.of_exception(
                    exc,
                    timeout_s,
                    said=said,
                    unplaced=unplaced,
                    installing=self._is_installing(release),
                )
                if self._mask is not None:  # Serve and Ray tell what they were told
                    error = await self._mask(release, error)
            if error is not None:
                await self._fail(release, error, timings)
            else:
                await self._go_live(release, description, timings)

    async def _start(self, release: Release, timings: dict[str, float]) -> Description:
        """Start a release's first runner, and its own endpoint if it has one.

        How long each part takes is noted in `timings`, as far as it goes.
        """
        began = time.monotonic()
        try:
            description = await self._supervisor.pool(release).probe()
        except BaseException:
            timings["environment"] = _since(began)
            raise
        # What the runner did not spend on imports went into its environment and its process.
        timings["environment"] = max(0.0, round(_since(began) - description.took_s, 3))
        timings["import"] = round(description.took_s, 3)
        # One after the other: a mistake is told by the runner, and does not start Serve.
        # Both at once was measured to be no faster, on two cores.
        if release.manifest.get("app") is not None and not description.problems:
            began = time.monotonic()
            try:
                await self._applications.bring_up(release)
            finally:
                timings["replicas"] = _since(began)
        return description

    def _is_installing(self, release: Release) -> bool:
        pool = self._supervisor.pools.get((release.service, release.number))
        runtime = release.manifest["runtime"]
        keys = ("dependencies", "requirements", "pyproject")
        return pool is not None and pool.was_awaited and any(runtime.get(key) for key in keys)

    async def _go_live(
        self, release: Release, description: Description, timings: dict[str, float]
    ) -> None:
        flows, handled = _flows(release, description), _handled(description)
        live = await surely(
            lambda: self._store.go_live(
                release.service, release.number, flows, handled, timings=timings
            )
        )
        if live.status != "live":  # it was undeployed in this moment
            self._supervisor.drop(release)
            return
        self._catalog.put(live)
        self.troubles.pop(release.service, None)
        self._supervisor.retire(release.service, keep=release.number)
        self._supervisor.pool(release).keep_warm()

    async def _fail(
        self, release: Release, error: dict[str, Any], timings: dict[str, float]
    ) -> None:
        self._supervisor.drop(release)
        failed = await surely(
            lambda: self._store.fail_release(
                release.service, release.number, error, timings=timings
            )
        )
        if failed.has_closed:
            self._close(failed)
            self._supervisor.retire(release.service)

    def _close(self, release: Release) -> None:
        """Let nothing of a service serve, and say so wherever it is asked for."""
        self._catalog.close(release)
        self.troubles[release.service] = closed_by(release)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _expect(number: int | None, service: str, last: Release | None) -> None:
    """Raise `ConflictError` for what was planned before another's deploy; None expects nothing."""
    if number is None or number == (last.number if last else 0):
        return
    now = f"release {last.number} of {last.by} is there" if last else "it has no release any more"
    raise ConflictError(
        f"{service} has changed since the plan was made: {now}",
        hint="`koco plan` shows what a deploy would do now",
    )


def _flows(release: Release, description: Description) -> list[dict[str, Any]]:
    """Return the flows of manifest and endpoint, each with the form that a runner told."""
    about = ("description", "author", "organization", "version", "tags")
    shared = {key: release.manifest.get(key) for key in about}
    manifest = [
        {
            **shared,
            **{key: value for key, value in flow.items() if key != "inputs" and value is not None},
            "form": description.forms[flow["name"]],
        }
        for flow in release.manifest["flows"]
    ]
    app = description.app["flows"] if description.app is not None else []
    return [*({**shared, **flow} for flow in app), *manifest]


def _handled(description: Description) -> dict[str, Any] | None:
    """Return the names of the locks and leases that the service's own endpoint has."""
    if description.app is None:
        return None
    return {key: description.app[key] for key in ("locks", "leases")}
