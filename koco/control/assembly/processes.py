"""How the processes of releases are started: runners, spare ones first, and endpoints."""

from typing import Any

from koco.cluster import placement, runners
from koco.cluster.runners import RunnerActor
from koco.cluster.serve import Application
from koco.control.deploy.environment import Environments
from koco.control.executions.supervisor import spec_of
from koco.control.runners.spares import Live, Spares
from koco.runner.spec import RunnerSpec
from koco.store.model import Release


class Processes:
    """Starts processes of releases, each in its release's environment."""

    def __init__(self, environments: Environments, *, live: Live, control: Any) -> None:
        """`control` is the actor that runners talk to."""
        self._environments = environments
        self._control = control
        self.spares = Spares(live, environments.of, self._begin, spec_of)

    async def start_runner(self, spec: RunnerSpec, release: Release) -> RunnerActor:
        """Return a runner of a release: a spare one, or one that is started now."""
        spare = await self.spares.take(spec, release)
        return spare or await self._begin(spec, await self._environments.of(release), release)

    async def _begin(
        self, spec: RunnerSpec, environment: dict[str, Any], release: Release
    ) -> RunnerActor:
        return await runners.start(
            spec,
            control=self._control,
            runtime_env=environment,
            options=placement.options(release.manifest.runner),
        )

    async def application(self, release: Release) -> Application:
        """Return the Serve application of a release's endpoint."""
        return Application(
            service=release.service,
            release=release.number,
            import_path=release.manifest.app or "",
            runtime_env=await self._environments.of_endpoint(release),
            timeout_s=release.manifest.endpoint.timeout,
            options=release.manifest.serve,
        )
