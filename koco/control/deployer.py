"""Releases: from starting to live or failed.

A release goes live when a runner of it has built its environment and imported
every entrypoint, and when its own endpoint, if it has one, runs as a Serve
application. Until then, and for ever if it fails, the former one serves.
A release under way is a row: a restarted control plane takes it up again.

Each release has a Serve application of its own, as it has runners of its own: so
a release that fails leaves the former one's alone, and what validates an
execution's inputs is of the same code as what runs it.
"""

import asyncio
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from koco.cluster.reasons import ApplicationFailed
from koco.cluster.runners import EnvironmentFailed, RunnerDied
from koco.cluster.serve import Application, Serve, name_of
from koco.control.catalog import Catalog
from koco.control.supervisor import Supervisor
from koco.control.tasks import Tasks
from koco.errors import ConflictError, KocoError
from koco.manifest import plan
from koco.runner.spec import Description
from koco.store.model import Release
from koco.store.protocol import Store

log = logging.getLogger(__name__)

#: How long a release may take to become ready before it counts as failed (seconds).
READY_S = 600.0
#: How often applications that nothing needs any more are looked for (seconds).
_SWEEP_S = 1.0
#: How long one that nothing needs stays: a request may be on its way to it (seconds).
_STAY_S = 5.0
#: Pauses before another try to bring up a live release's application (seconds).
_AGAIN_S = (1.0, 5.0, 15.0, 60.0)

_HINTS = {
    "ModuleNotFoundError": "ship the module with the bundle, or name its package in "
    "`runtime.dependencies`",
    "SyntaxError": "mend the line shown; `python -m compileall .` finds such errors earlier",
}


class Deployer:
    """Makes releases, one at a time for each service."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        catalog: Catalog,
        *,
        serve: Serve,
        application: Callable[[Release], Awaitable[Application]],
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._serve = serve
        self._application = application
        #: Why a live release's own endpoint is not up, by service.
        self.troubles: dict[str, str] = {}
        self._tasks = Tasks("the deployer")
        #: Held while a deploy looks at what there is: of two alike one makes a release.
        self._deciding = asyncio.Lock()
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._under_way: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def recover(self) -> None:
        """Enter what is live, and take up releases that were under way."""
        for release in await self._store.releases("live"):
            self._catalog.put(release)
            if release.app is not None:
                self._tasks.spawn(self._bring_back(release))
        self._tasks.spawn(self._sweep())
        for release in await self._store.releases("starting"):
            self._begin(release, READY_S)

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

        `manifest` has been checked, and the bundle is there. `origin` says where it comes
        from; without `fallback` the former release does not serve where this one fails.

        Raises:
            ConflictError: the release that it would replace is not number `expect`, 0 for none.
        """
        service = manifest["service"]
        fingerprint = plan.fingerprint(manifest, bundle)
        async with self._deciding:
            coming = [r for r in await self._store.releases("starting") if r.service == service]
            # What it comes to is the last one: going back to the live one is a release, too,
            # while another is on its way.
            last = coming[-1] if coming else await self._store.live_release(service)
            # By what it says, not by the text that was stored: an older koco's has fewer keys.
            if last is not None and plan.fingerprint(last.manifest, last.bundle) == fingerprint:
                return last, not coming  # or somebody else is deploying the same
            if expect is not None and expect != (last.number if last else 0):
                raise _crossed(service, last)
            release = await self._store.create_release(
                service,
                bundle=bundle,
                fingerprint=fingerprint,
                manifest=manifest,
                by=by,
                origin=origin,
                fallback=fallback,
            )
            self._begin(release, timeout_s)
            return release, False

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
        task = asyncio.get_running_loop().create_task(self._bring_up(release, timeout_s))
        self._under_way[key] = task
        task.add_done_callback(lambda task: self._done(key, task))

    def _done(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("deploying %s/%s failed", *key, exc_info=exc)

    async def _bring_up(self, release: Release, timeout_s: float) -> None:
        async with self._turns[release.service]:
            try:
                async with asyncio.timeout(timeout_s):
                    description = await self._start(release)
                    error = _error_of(description)
            except Exception as exc:  # noqa: BLE001 - whatever it was, the release has failed
                log.info("release %s/%s: %r", release.service, release.number, exc)
                said = self._serve.said.get(name_of(release.service, release.number))
                error = _error_from(exc, timeout_s, said=said)
            if error is not None:
                self._supervisor.drop(release)
                await self._store.fail_release(release.service, release.number, error)
                return
            live = await self._store.go_live(
                release.service, release.number, _flows(release, description), _handled(description)
            )
            self._catalog.put(live)
            self.troubles.pop(release.service, None)
            self._supervisor.retire(release.service, keep=release.number)
            self._supervisor.pool(release).keep_warm()

    # endpoints of services' own

    async def _start(self, release: Release) -> Description:
        """Start a release's first runner, and its own endpoint if it has one."""
        description = await self._supervisor.pool(release).probe()
        # One after the other: a mistake is told by the runner, and does not start Serve.
        # Both at once was measured to be no faster, on two cores.
        if release.manifest.get("app") is not None and not description.problems:
            await self._serve.bring_up(await self._application(release))
        return description

    async def _bring_back(self, release: Release) -> None:
        """See that a live release's application is there, as it is unless the head is a new one."""
        for pause_s in itertools.chain(_AGAIN_S, itertools.repeat(_AGAIN_S[-1])):
            try:
                await self._serve.bring_up(await self._application(release))
            except KocoError as exc:
                if not self._is_live(release):
                    return
                self.troubles[release.service] = exc.message
                log.warning("the endpoint of %s is not up: %s", release.service, exc.message)
                await asyncio.sleep(pause_s)
            else:
                self.troubles.pop(release.service, None)
                return

    def _is_live(self, release: Release) -> bool:
        try:
            return self._catalog.release(release.service).number == release.number
        except KocoError:
            return False

    async def _sweep(self) -> None:
        """Remove applications of releases that have no runners any more, for ever.

        A release's pool goes when its last execution has ended: until then, its locks
        are answered by its own code.
        """
        needed_at: dict[str, float] = {}
        is_known = False
        while True:
            try:
                if not is_known:
                    await self._serve.look()
                    is_known = True
                now = time.monotonic()
                needed = {name_of(*key) for key in self._supervisor.pools}
                needed_at.update(dict.fromkeys(needed, now))
                keep = {name for name in self._serve.ours if now - needed_at.get(name, 0) < _STAY_S}
                await self._serve.keep_only(keep)
            except KocoError as exc:
                log.warning("could not look after Serve applications: %s", exc.message)
            await asyncio.sleep(_SWEEP_S)


def _crossed(service: str, last: Release | None) -> ConflictError:
    """Return the error of a deploy that was planned before another one's."""
    now = f"release {last.number} of {last.by} is there" if last else "it has no release any more"
    return ConflictError(
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


def _error_of(description: Description) -> dict[str, Any] | None:
    """Return what went wrong with the imports, or None."""
    if not description.problems:
        return None
    first = description.problems[0]
    message = "; ".join(_sentence(problem) for problem in description.problems)
    # Flows of one module fail alike: its traceback is told once.
    told = dict.fromkeys(p["traceback"] for p in description.problems if p["traceback"])
    detail = "\n\n".join(told)
    return {
        "message": message,
        "detail": detail or None,
        "hint": first["hint"] or _HINTS.get(first["type"]),
    }


def _sentence(problem: dict[str, Any]) -> str:
    kind = f"{problem['type']}: " if problem["type"] else ""
    where = f"flow {problem['flow']!r}" if problem["flow"] is not None else "app"
    return f"{where}: {kind}{problem['message']}"


def _error_from(exc: Exception, timeout_s: float, *, said: str | None) -> dict[str, Any]:
    match exc:
        case EnvironmentFailed():
            return {"message": exc.message, "detail": exc.detail, "hint": exc.hint}
        case ApplicationFailed():
            return {
                "message": f"the endpoint did not start: {exc.message}",
                "detail": exc.detail,
                "hint": "it runs as a Ray Serve application: does its module, or its "
                "deployment's constructor, fail?",
            }
        case RunnerDied():
            return {
                "message": f"the runner died while it imported the entrypoints: {exc.message}",
                "detail": None,
                "hint": "does a module end the process, or use more memory than there is?",
            }
        case TimeoutError() if said:
            return {
                "message": f"its endpoint was not up within {timeout_s:g} s",
                "detail": said,
                "hint": "have the nodes what its Serve deployment asks for?",
            }
        case TimeoutError():
            return {
                "message": f"it was not ready within {timeout_s:g} s",
                "detail": None,
                "hint": "does a module wait for something while it is imported? "
                "`--timeout` allows more time",
            }
        case KocoError():
            return {"message": exc.message, "detail": None, "hint": exc.hint}
        case _:
            return {"message": f"{type(exc).__name__}: {exc}", "detail": None, "hint": None}
