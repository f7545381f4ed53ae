"""Start the runner of a person's next release before it exists, so that a save is live sooner.

Most of a redeploy is the start of a process: its environment, Python, Ray and koco. None of that
needs the author's code. So after each release of a person's own service (`hello~ada`), a runner of
the next number is started, in the environment that the next release has unless its manifest
changes. Its bundle comes later: see `koco.sdk.process.late_bundle`.

A spare that does not fit is ended, and the release starts a runner as any other does. A restarted
control plane ends the spares of the former one, because they belong to no release.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from koco.cluster.runners import RunnerActor
from koco.control.runners.worker import see_off
from koco.control.tasks import Tasks
from koco.errors import KocoError
from koco.manifest.rules import owner_of
from koco.runner.spec import RunnerSpec
from koco.store.model import Release

log = logging.getLogger(__name__)

#: How long after a release has settled its spare is started (seconds): what the person has just
#: launched comes first.
_PAUSE_S = 1.0
#: How long to wait for a spare that is still starting (seconds). It began earlier than another
#: runner would.
_ANSWER_S = 10.0
#: How many spares there are at most, of all services.
_MOST = 8

#: The environment of a release's runners.
Environment = Callable[[Release], Awaitable[dict[str, Any]]]
#: Starts a runner: `(spec, environment, release) -> RunnerActor`.
Begin = Callable[[RunnerSpec, dict[str, Any], Release], Awaitable[RunnerActor]]
#: Returns the live release of a service, if there is one.
Live = Callable[[str], Awaitable[Release | None]]
#: Makes the spec of a runner: `(release, runner id) -> RunnerSpec`.
MakeSpec = Callable[[Release, str], RunnerSpec]


def is_late(release: Release) -> bool:
    """Return whether a release's processes may be started before its bundle exists.

    Its secrets, packages and endpoint must not be needed for that.
    """
    manifest = release.manifest
    wants = manifest.secrets or manifest.runtime.installs or manifest.app or manifest.runner.labels
    return bool(owner_of(release.service)) and not wants and not manifest.runner.resources


@dataclass(frozen=True, slots=True)
class _Spare:
    actor: RunnerActor
    spec: RunnerSpec
    environment: dict[str, Any]


class Spares:
    """The spare runners, at most one for each service."""

    def __init__(
        self, live: Live, environment: Environment, begin: Begin, make_spec: MakeSpec
    ) -> None:
        self._live = live
        self._environment = environment
        self._begin = begin
        self._make_spec = make_spec
        self._spares: dict[str, _Spare] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._tasks = Tasks("the spare runners")

    def settled(self, release: Release) -> None:
        """Start a spare. Called when a release is live or has failed."""
        self.drop(release.service)
        if is_late(release) and len(self._spares) < _MOST:
            self._starting[release.service] = self._tasks.spawn(self._start(release))

    def hold_off(self, service: str) -> None:
        """Start no spare now. Called when a release begins, with which it would only compete."""
        if starting := self._starting.pop(service, None):
            starting.cancel()

    def drop(self, service: str) -> None:
        """End the spare of a service."""
        self.hold_off(service)
        if spare := self._spares.pop(service, None):
            self._tasks.spawn(see_off(spare.actor))

    async def take(self, spec: RunnerSpec, release: Release) -> RunnerActor | None:
        """Return the spare of a release, told what to run; None if there is none that fits."""
        spare = self._spares.get(release.service)
        if spare is None or release.number < spare.spec.release:
            return None
        del self._spares[release.service]
        actor = spare.actor
        spec = msgspec.structs.replace(spec, id=actor.id)
        if await self._fits(spare, spec, release):
            with contextlib.suppress(KocoError, TimeoutError):
                await asyncio.wait_for(actor.attach(), _ANSWER_S)
                actor.spec = msgspec.json.encode(spec)
                return actor
        log.info("the spare runner of %s does not fit release %s", spec.service, spec.release)
        self._tasks.spawn(see_off(actor))
        return None

    async def _fits(self, spare: _Spare, spec: RunnerSpec, release: Release) -> bool:
        alike = msgspec.structs.replace(spare.spec, flows=spec.flows)
        return (
            is_late(release)
            and alike == spec
            and spare.environment == await self._environment(release)
        )

    async def _start(self, release: Release) -> None:
        await asyncio.sleep(_PAUSE_S)
        if await self._live(release.service) is None:
            return  # it was undeployed meanwhile, and nobody would end the spare
        following = msgspec.structs.replace(release, number=release.number + 1)
        environment = await self._environment(following)
        spec = self._make_spec(following, secrets.token_hex(4))
        actor = await self._begin(spec, environment, following)
        self._spares[release.service] = _Spare(actor, spec, environment)
        self._starting.pop(release.service, None)
