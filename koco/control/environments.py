"""The runtime environment of a release: what Ray makes for its runners and its endpoint."""

from typing import Any

from koco.control.bundles import Bundles
from koco.store.model import Release


class Environments:
    """Makes Ray's `runtime_env` of a release."""

    def __init__(self, bundles: Bundles, *, base: dict[str, Any] | None = None) -> None:
        """`base` is what every process needs here: `{py_modules: […], pip: […]}`."""
        self._bundles = bundles
        self._base = base or {}

    async def of(self, release: Release) -> dict[str, Any]:
        """Return the environment in which a release's code runs."""
        runtime = release.manifest["runtime"]
        environment: dict[str, Any] = {
            # Modules, not a working directory: that is shared by all workers of a node.
            # The service's own first: what comes first is found first.
            "py_modules": [
                self._bundles.url(release.bundle),
                *self._base.get("py_modules", ()),
            ],
            # The release is in it so that an environment that failed, which Ray
            # remembers for ten minutes, is not what the next release gets.
            "env_vars": {
                **runtime["env"],
                "KOCO_SERVICE": release.service,
                "KOCO_RELEASE": str(release.number),
            },
        }
        if packages := [*self._base.get("pip", ()), *runtime["dependencies"]]:
            environment["pip"] = packages
        return environment
