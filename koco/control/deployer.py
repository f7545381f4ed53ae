"""Releases: from starting to live or failed.

A release goes live when a runner of it has built its environment and imported
every entrypoint. Until then, and for ever if it fails, the former one serves.
A release under way is a row: a restarted control plane takes it up again.
"""

import asyncio
import hashlib
import logging
from collections import defaultdict
from typing import Any

from koco.cluster.runners import EnvironmentFailed, RunnerDied
from koco.control.catalog import Catalog
from koco.control.supervisor import Supervisor
from koco.events import line
from koco.runner.spec import Description
from koco.store.model import Release
from koco.store.protocol import Store

log = logging.getLogger(__name__)

#: How long a release may take to become ready before it counts as failed (seconds).
READY_S = 600.0

_HINTS = {
    "ModuleNotFoundError": "ship the module with the bundle, or name its package in "
    "`runtime.dependencies`",
    "SyntaxError": "mend the line shown; `python -m compileall .` finds such errors earlier",
}


class Deployer:
    """Makes releases, one at a time for each service."""

    def __init__(self, store: Store, supervisor: Supervisor, catalog: Catalog) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._under_way: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def recover(self) -> None:
        """Enter what is live, and take up releases that were under way."""
        for release in await self._store.releases("live"):
            self._catalog.put(release)
        for release in await self._store.releases("starting"):
            self._begin(release, READY_S)

    async def deploy(
        self,
        manifest: dict[str, Any],
        *,
        bundle: str,
        by: str,
        timeout_s: float = READY_S,
    ) -> tuple[Release, bool]:
        """Begin a release; return it, and whether it is the live one, unchanged.

        `manifest` has been checked, and the bundle is there.
        """
        service = manifest["service"]
        fingerprint = _fingerprint(manifest, bundle)
        live = await self._store.live_release(service)
        if live is not None and live.fingerprint == fingerprint:
            return live, True
        for release in await self._store.releases("starting"):
            if release.service == service and release.fingerprint == fingerprint:
                return release, False  # somebody else is deploying the same
        release = await self._store.create_release(
            service, bundle=bundle, fingerprint=fingerprint, manifest=manifest, by=by
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
                pool = self._supervisor.pool(release)
                description = await asyncio.wait_for(pool.probe(), timeout_s)
                error = _error_of(description)
            except Exception as exc:  # noqa: BLE001 - whatever it was, the release has failed
                log.info("release %s/%s: %r", release.service, release.number, exc)
                error = _error_from(exc, timeout_s)
            if error is not None:
                self._supervisor.drop(release)
                await self._store.fail_release(release.service, release.number, error)
                return
            flows = _flows(release, description)
            live = await self._store.go_live(release.service, release.number, flows)
            self._catalog.put(live)
            self._supervisor.retire(release.service, keep=release.number)
            pool.keep_warm()


def _fingerprint(manifest: dict[str, Any], bundle: str) -> str:
    return hashlib.sha256(line.encode_payload([manifest, bundle])).hexdigest()


def _flows(release: Release, description: Description) -> list[dict[str, Any]]:
    """Return the manifest's flows, each with the form that a runner made of it."""
    about = ("description", "author", "organization", "version", "tags")
    shared = {key: release.manifest.get(key) for key in about}
    return [
        {
            **shared,
            **{key: value for key, value in flow.items() if key != "inputs" and value is not None},
            "form": description.forms[flow["name"]],
        }
        for flow in release.manifest["flows"]
    ]


def _error_of(description: Description) -> dict[str, Any] | None:
    """Return what went wrong with the imports, or None."""
    if not description.problems:
        return None
    first = description.problems[0]
    message = "; ".join(_sentence(problem) for problem in description.problems)
    detail = "\n\n".join(p["traceback"] for p in description.problems if p["traceback"])
    return {
        "message": message,
        "detail": detail or None,
        "hint": first["hint"] or _HINTS.get(first["type"]),
    }


def _sentence(problem: dict[str, Any]) -> str:
    kind = f"{problem['type']}: " if problem["type"] else ""
    return f"flow {problem['flow']!r}: {kind}{problem['message']}"


def _error_from(exc: Exception, timeout_s: float) -> dict[str, Any]:
    match exc:
        case EnvironmentFailed():
            return {"message": exc.message, "detail": exc.detail, "hint": exc.hint}
        case RunnerDied():
            return {
                "message": f"the runner died while it imported the entrypoints: {exc.message}",
                "detail": None,
                "hint": "does a module end the process, or use more memory than there is?",
            }
        case TimeoutError():
            return {
                "message": f"no runner became ready within {timeout_s:g} s",
                "detail": None,
                "hint": "does a module wait for something while it is imported? "
                "`--timeout` allows more time",
            }
        case _:
            return {"message": f"{type(exc).__name__}: {exc}", "detail": None, "hint": None}
