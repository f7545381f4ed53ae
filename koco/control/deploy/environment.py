"""Ray's runtime environment for the runners and the endpoint of a release."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

from koco.control.deploy import packages
from koco.control.runners import spares
from koco.control.services.bundles import Bundles
from koco.control.services.secrets import Vault
from koco.sdk import worker_setup
from koco.sdk.endpoint import public
from koco.sdk.process import late_bundle, memory
from koco.store.model import Release

#: How long Ray may take to set up an environment (seconds); Ray's default is 600. This is larger
#: because the deploy's own timeout decides, and gigabytes of packages take longer.
_SETUP_S = 3600


class Environments:
    """Makes the `runtime_env` of releases."""

    def __init__(
        self,
        bundles: Bundles,
        vault: Vault,
        *,
        publish: Callable[[str, int], Awaitable[None]],
        base: dict[str, Any] | None = None,
    ) -> None:
        """Store the parts that environments are made from.

        `publish` lets the processes of a release (its service and number) find its token. `base`
        is added to every environment: `{py_modules: […], pip: […]}`.
        """
        self._bundles = bundles
        self._vault = vault
        self._publish = publish
        self._base = base or {}

    async def of(self, release: Release) -> dict[str, Any]:
        """Return the environment of a release's runners and of the tasks and actors they start.

        Each of these processes begins with `koco.sdk.worker_setup`, which fetches the release's
        secrets. The environment holds the time when the last secret was set. So when a secret
        changes, Serve replaces its replicas, and Ray reuses no process with the old value for a
        flow's tasks.

        Raises:
            EnvironmentFailed: The bundle's requirements or lock cannot be used.
        """
        runtime = release.manifest.runtime
        is_late = spares.is_late(release)
        environment: dict[str, Any] = {
            # Modules, because a working directory is shared by all workers of a node.
            # The service's own come first, so that they are found first.
            "py_modules": [
                self._bundles.url_of_release(release.service, release.number)
                if is_late
                else self._bundles.url(release.bundle),
                *self._base.get("py_modules", ()),
            ],
            # Ray remembers a failed environment for ten minutes. The release number is part of
            # the environment so that the next release does not get the failed one. It does not
            # affect installed packages: releases that install the same ones share them.
            "env_vars": {
                **runtime.env,
                WORKER_PROCESS_SETUP_HOOK_ENV_VAR: worker_setup.HOOK,
                worker_setup.SERVICE: release.service,
                worker_setup.RELEASE: str(release.number),
                # Set even if empty, so that only the manifest's key decides.
                memory.VARIABLE: str(release.manifest.runner.memory_mb or ""),
            },
            "config": {"setup_timeout_seconds": _SETUP_S},
        }
        if is_late:
            environment["env_vars"][late_bundle.VARIABLE] = "1"
        if runtime.kodosumi:
            environment["env_vars"][worker_setup.KODOSUMI] = "1"
        if runtime.chdir:
            environment["env_vars"][worker_setup.CHDIR] = "1"
        if names := release.manifest.secrets:
            await self._publish(release.service, release.number)
            environment["env_vars"] |= {
                worker_setup.SECRETS: ",".join(names),
                "KOCO_SECRETS_SET": await self._vault.last_set(names),
                # The timeline holds the exceptions of tasks, which koco cannot mask.
                "RAY_enable_timeline": "0",
            }
        installer, lines = await self._to_install(release)
        if lines:
            environment[installer] = lines
        return environment

    async def of_endpoint(self, release: Release) -> dict[str, Any]:
        """Return the environment of a release's own endpoint, in Serve's processes."""
        environment = await self.of(release)
        variables = environment["env_vars"]
        # Only the manifest's key makes paths public, because plans show that key.
        variables.pop(public.VARIABLE, None)
        if paths := release.manifest.endpoint.public:
            variables[public.VARIABLE] = json.dumps(paths)
        return environment

    async def _to_install(self, release: Release) -> tuple[str, list[str]]:
        """Return the installer and its lines.

        One installer gets all lines, because Ray does not accept pip and uv together.
        """
        runtime = release.manifest.runtime
        installer, lines = "pip", list[str]()
        if runtime.installs:
            bundle = await self._bundles.file(release.bundle)
            installer, lines = await asyncio.to_thread(packages.to_install, bundle, runtime)
        return installer, [*self._base.get("pip", ()), *lines]
