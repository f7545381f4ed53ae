"""Rollouts: bring a release from `starting` to `live` or `failed`.

A release goes live when one of its runners has built its environment, imported every entrypoint,
and answered once more a moment later. If the release has its own endpoint, that must also run as a
Serve application. Until then, the former release serves. If the rollout fails, it goes on serving,
unless the release was deployed without a fallback.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from koco.cluster import node_processes
from koco.cluster.runners import RunnerDied
from koco.control.deploy import failure_messages
from koco.control.deploy.cluster_room import NoPlace
from koco.control.deploy.serve_apps import Applications
from koco.control.deploy.start_watch import DiedAtStart, Watch
from koco.control.executions.scheduling import schedule_spec
from koco.control.executions.supervisor import Supervisor
from koco.control.runners.pool import Pool
from koco.control.runners.worker import SHORT_LIVED, Runner
from koco.control.services.catalog import Catalog, closed_by
from koco.control.tasks import Tasks, surely
from koco.errors import KocoError
from koco.manifest.agent_rules import MIP003
from koco.manifest.descriptions import FlowDescription, FlowExample, FlowHints
from koco.runner.spec import Description, Presence
from koco.store.model import Release, ReleaseFailure
from koco.store.store import Store

if TYPE_CHECKING:
    from koco.manifest.model import Flow

log = logging.getLogger(__name__)

T = TypeVar("T")

#: How long to wait after a runner's imports before it must answer again (seconds). On this node,
#: the first is the limit, and the wait ends as soon as the process is idle. On another node it is
#: always the second, because a check of the process there would take longer than that.
_OUTLIVE_S, _ELSEWHERE_S = 1.0, 0.3
#: How long its process must be idle (seconds). A process that is ended by a signal is busy for a
#: while, because Ray's handler writes its report first. So is one that a module's thread ends.
_REST_S = 0.05
#: How long that answer may take (seconds). It is short because only imports have run so far.
_ANSWER_S = 10.0

#: How often to check that a release can still become ready (seconds). Most are ready earlier.
_LOOK_S = 5.0
#: How long it may take to find out what a starting release waits for (seconds).
_TELL_S = 5.0

#: Removes the values of a release's secrets from its error.
Mask = Callable[[Release, ReleaseFailure], Awaitable[ReleaseFailure]]


class Rollouts:
    """Brings up releases, one at a time for each service."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        catalog: Catalog,
        *,
        applications: Applications,
        mask: Mask | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._applications = applications
        self._mask = mask
        #: Finds out what a starting release waits for, and if it can still become ready.
        self._watch = watch
        self._tasks = Tasks("the rollouts")
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        #: Called with each release that went live.
        self.on_live: Callable[[Release], None] = lambda release: None
        #: Called with each release that has failed.
        self.on_failed: Callable[[Release], None] = lambda release: None
        self._under_way: dict[tuple[str, int], asyncio.Task[None]] = {}

    def begin(self, release: Release, timeout_s: float) -> None:
        """Begin to bring up a release, and return at once."""
        key = (release.service, release.number)
        task = self._tasks.spawn(self._bring_up(release, timeout_s))
        self._under_way[key] = task
        task.add_done_callback(lambda _: self._under_way.pop(key, None))

    async def wait(self, service: str, number: int, *, seconds: float) -> None:
        """Wait until a release is live or has failed, but at most `seconds`."""
        if task := self._under_way.get((service, number)):
            await asyncio.wait({task}, timeout=seconds)

    def stop(self, release: Release) -> None:
        """Stop a release's rollout. The caller has already marked it as failed in the store."""
        if task := self._under_way.get((release.service, release.number)):
            task.cancel()
        if release.status == "starting":
            self._give_back(release)

    def _give_back(self, release: Release) -> None:
        """End the runners and the endpoint of a release that never went live."""
        self._supervisor.drop(release)
        self._applications.give_up(release)

    async def waits_for(self, release: Release) -> str | None:
        """Return what a starting release waits for and who holds it, or None."""
        if self._watch is None:
            return None
        try:
            async with asyncio.timeout(_TELL_S):
                return await self._watch.waits_for(release)
        except Exception:
            # This is only extra information: neither the release nor its status may fail over it.
            log.exception("could not find out what %s waits for", release.service)
            return None

    async def doing(self, release: Release) -> str | None:
        """Return the current step of a starting release, or None."""
        key = (release.service, release.number)
        if self._watch is None or key not in self._under_way:
            return None
        if self._applications.last_message(release):
            return "its endpoint is starting"
        pool = self._supervisor.pools.get(key)
        if pool is not None and pool.newest is not None and pool.newest.actor.is_there:
            return "its entrypoints are being imported"
        if release.manifest.runtime.installs:
            line = await self._watch.installing()
            return "packages are being installed" + (f": {line}" if line else "")
        return "a runner is starting"

    async def _bring_up(self, release: Release, timeout_s: float) -> None:
        async with self._turns[release.service]:
            timings = dict(release.timings)
            try:
                async with asyncio.timeout(timeout_s):
                    description = await self._unless_in_vain(release, self._start(release, timings))
                    error = failure_messages.of_imports(description)
                    if error is None:
                        flows = _flows(release, description)
                        error = failure_messages.of_forms(flows)
                        error = error or await schedule_spec.find_problem(release.manifest, flows)
            except Exception as exc:  # noqa: BLE001 - whatever it was, the release has failed
                log.info("release %s/%s: %r", release.service, release.number, exc)
                said = self._applications.last_message(release)
                is_late = said is None and isinstance(exc, TimeoutError)
                unplaced = await self.waits_for(release) if is_late else None
                error = failure_messages.of_exception(
                    exc,
                    timeout_s,
                    said=said,
                    unplaced=unplaced,
                    installing=self._is_installing(release),
                )
                if self._mask is not None:  # messages of Serve and Ray may contain secrets
                    error = await self._mask(release, error)
            if error is not None:
                await self._fail(release, error, timings)
            else:
                await self._go_live(release, description, timings)

    async def _unless_in_vain(self, release: Release, work: Coroutine[Any, Any, T]) -> T:
        """Await work that may hang, and stop it when the release can no longer become ready.

        Raises:
            KocoError: The reason why it cannot.
        """
        doing = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(self._see_in_vain(release))
        try:
            await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                await watching
            return await doing
        finally:
            doing.cancel()
            watching.cancel()
            # Wait for both, because the caller cleans up after them when this returns.
            await asyncio.wait({doing, watching})

    async def _see_in_vain(self, release: Release) -> None:
        began_s = time.time()
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._watch is None:
                continue
            try:
                await self._watch.check(release, self._supervisor.pool(release), since_s=began_s)
            except (NoPlace, DiedAtStart):
                raise
            except Exception:
                # A failed check says nothing about the release, so it may still become ready.
                log.exception("could not find out what %s waits for", release.service)

    async def _start(self, release: Release, timings: dict[str, float]) -> Description:
        """Start a release's first runner, and its own endpoint if it has one.

        Adds the duration of each part to `timings`, also if a later part fails.
        """
        began = time.monotonic()
        pool = self._supervisor.pool(release)
        try:
            description = await pool.probe()
            imported = time.monotonic()
            runner = next(iter(pool.runners.values()), None)
            before = None if runner is None else await _presence(runner)
        except BaseException:
            timings["environment"] = _since(began)
            raise
        # The runner spent the rest of its time on its environment and its process.
        timings["environment"] = max(0.0, round(_since(began) - description.took_s, 3))
        timings["import"] = round(description.took_s, 3)
        # The endpoint starts after the runner, because the runner finds mistakes without Serve.
        # Starting both at once was measured on two cores and was not faster.
        if release.manifest.app is not None and not description.problems:
            began = time.monotonic()
            try:
                await self._applications.bring_up(release)
            finally:
                timings["replicas"] = _since(began)
        if runner is not None and before is not None:
            await _wait_until_idle(runner, imported)
            await _require_alive(pool, runner, before)
        return description

    def _is_installing(self, release: Release) -> bool:
        pool = self._supervisor.pools.get((release.service, release.number))
        return pool is not None and pool.was_awaited and release.manifest.runtime.installs

    async def _go_live(
        self, release: Release, description: Description, timings: dict[str, float]
    ) -> None:
        flows = _flows(release, description)
        handlers = None if description.app is None else description.app.handlers
        live = await surely(
            lambda: self._store.releases.go_live(
                release.service, release.number, flows, handlers, timings=timings
            )
        )
        if live.status != "live":  # it was undeployed or superseded just now
            self._give_back(release)
            return
        log.info("release %s/%s is live: %s", release.service, release.number, timings)
        self._catalog.put(live)
        self._applications.troubles.pop(release.service, None)
        self._supervisor.retire(release.service, keep=release.number)
        self._supervisor.pool(release).keep_warm()
        self.on_live(live)

    async def _fail(
        self, release: Release, error: ReleaseFailure, timings: dict[str, float]
    ) -> None:
        self._give_back(release)
        failed = await surely(
            lambda: self._store.releases.fail(
                release.service, release.number, error, timings=timings
            )
        )
        if failed.has_closed:
            self.close(failed)
            self._supervisor.retire(release.service)
        self.on_failed(failed)

    def close(self, release: Release) -> None:
        """Close a service: none of its releases serves, and requests for it get the reason."""
        self._catalog.close(release)
        self._applications.troubles[release.service] = closed_by(release)


async def _presence(runner: Runner) -> Presence:
    try:
        return await asyncio.wait_for(runner.actor.attach(), _ANSWER_S)
    except TimeoutError as exc:
        raise RunnerDied("its process did not answer after the imports") from exc
    except RunnerDied as exc:
        raise await runner.explain(exc) from exc


async def _wait_until_idle(runner: Runner, since: float) -> None:
    """Wait until a runner's process is idle after its imports, or gone.

    `since` is when the imports ended (monotonic seconds). The process is observed from outside,
    because it still answers calls while it dies.
    """
    before = None
    while (left_s := _OUTLIVE_S - (time.monotonic() - since)) > 0:
        if runner.actor.node != node_processes.own_node():
            await asyncio.sleep(left_s - _OUTLIVE_S + _ELSEWHERE_S)
            return
        try:
            now = await asyncio.wait_for(runner.actor.look(), left_s)
        except (KocoError, TimeoutError):
            now = before  # it cannot be observed, so wait until the time is over
        else:
            if now is None:
                return
            if before is not None and now.state == "S" and now.cpu_s - before.cpu_s < _REST_S / 2:
                return
        before = now
        await asyncio.sleep(_REST_S)


async def _require_alive(pool: Pool, runner: Runner, before: Presence) -> None:
    """Check that a runner is still alive, and still the process that ran the imports.

    Raises:
        RunnerDied: It has died since.
    """
    now = await _presence(runner)
    if (now.pid, now.started) != (before.pid, before.started) or runner.id not in pool.runners:
        raise await runner.explain(RunnerDied(SHORT_LIVED))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _flows(release: Release, description: Description) -> list[FlowDescription]:
    """Return the flows of endpoint and manifest, with the forms that the runner reported.

    The service's metadata is the default of each flow's.
    """
    about = release.manifest
    shared: dict[str, Any] = {
        **{"description": about.description, "version": about.version, "tags": about.tags},
        **{"author": about.author, "organization": about.organization},
    }
    own = [
        FlowDescription(
            name=flow.name,
            entrypoint=flow.entrypoint,
            form=description.forms[flow.name],
            summary=flow.summary,
            dialect=about.dialect,
            **_for_agents(flow),
            **{**shared, "description": flow.description},
        )
        for flow in release.manifest.flows
    ]
    app = description.app.flows if description.app is not None else ()
    named = {each.flow for each in about.mip003}
    return [_exposed(each, named) for each in (*(_with_defaults(a, shared) for a in app), *own)]


def _exposed(flow: FlowDescription, named: Collection[str]) -> FlowDescription:
    """Return a flow that also has MIP-003 among its protocols if the manifest's `mip003` names it.

    So a service that was written for Kodosumi can be exposed without a change of its code.
    """
    if flow.name not in named or MIP003 in flow.expose:
        return flow
    return msgspec.structs.replace(flow, expose=(*flow.expose, MIP003))


def _for_agents(flow: "Flow") -> dict[str, Any]:
    """Return what a manifest tells agents of a flow, as fields of its description."""
    return {
        "output": flow.output,
        "examples": tuple(FlowExample(**each.model_dump()) for each in flow.examples),
        "hints": FlowHints(**flow.hints.model_dump()),
        "expose": flow.expose,
    }


def _with_defaults(flow: FlowDescription, shared: dict[str, Any]) -> FlowDescription:
    missing = {key: value for key, value in shared.items() if not getattr(flow, key)}
    return msgspec.structs.replace(flow, **missing)
