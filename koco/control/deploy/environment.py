"""The runtime environment of a release: what Ray makes for its runners and its endpoint."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

from koco.control.deploy import packages
from koco.control.services.bundles import Bundles
from koco.control.services.secrets import Vault
from koco.sdk import worker_setup
from koco.sdk.endpoint import public
from koco.sdk.process import memory
from koco.store.model import Release

#: How long Ray may take to make an environment (seconds); its default is 600. A deploy's own
#: timeout is what decides, and some want more for gigabytes of packages.
_SETUP_S = 3600


class Environments:
    """Makes Ray's `runtime_env` of a release."""

    def __init__(
        self,
        bundles: Bundles,
        vault: Vault,
        *,
        publish: Callable[[str, int], Awaitable[None]],
        base: dict[str, Any] | None = None,
    ) -> None:
        """Make none yet.

        `publish` lets the processes of a release (its service and number) find its token, and
        `base` is what every process needs here: `{py_modules: […], pip: […]}`.
        """
        self._bundles = bundles
        self._vault = vault
        self._publish = publish
        self._base = base or {}

    async def of(self, release: Release) -> dict[str, Any]:
        """Return the environment in which a release's code runs: runners, and what they start.

        Each of these processes begins with `koco.sdk.worker_setup`, which fetches the release's
        secrets. When the last of them was set is in it: so Serve replaces replicas that have an
        old one, and Ray gives no process to a flow's tasks that has.

        Raises:
            EnvironmentFailed: what it is to install cannot be told from its bundle.
        """
        runtime = release.manifest["runtime"]
        environment: dict[str, Any] = {
            # Modules, not a working directory: that is shared by all workers of a node.
            # The service's own first: what comes first is found first.
            "py_modules": [
                self._bundles.url(release.bundle),
                *self._base.get("py_modules", ()),
            ],
            # The release is in it so that an environment that failed, which Ray
            # remembers for ten minutes, is not what the next release gets. What is
            # installed has no part in that: releases that install the same share it.
            "env_vars": {
                **runtime["env"],
                WORKER_PROCESS_SETUP_HOOK_ENV_VAR: worker_setup.HOOK,
                worker_setup.SERVICE: release.service,
                worker_setup.RELEASE: str(release.number),
                # The manifest's own key alone says it.
                memory.VARIABLE: str(release.manifest["runner"].get("memory_mb") or ""),
            },
            "config": {"setup_timeout_seconds": _SETUP_S},
        }
        if names := release.manifest.get("secrets"):
            await self._publish(release.service, release.number)
            environment["env_vars"] |= {
                worker_setup.SECRETS: ",".join(names),
                "KOCO_SECRETS_SET": await self._vault.last_set(names),
                # The timeline has what tasks raise, as nobody can mask it.
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
        # The manifest's key alone opens something: it is what plans tell of.
        variables.pop(public.VARIABLE, None)
        if paths := release.manifest["endpoint"].get("public"):
            variables[public.VARIABLE] = json.dumps(paths)
        return environment

    async def _to_install(self, release: Release) -> tuple[str, list[str]]:
        """Return what to install with what; pip and uv exclude each other, so one has it all."""
        runtime = release.manifest["runtime"]
        installer, lines = "pip", list[str]()
        if any(runtime.get(key) for key in ("dependencies", "requirements", "pyproject")):
            bundle = self._bundles.path(release.bundle)
            installer, lines = await asyncio.to_thread(packages.to_install, bundle, runtime)
        return installer, [*self._base.get("pip", ()), *lines]
