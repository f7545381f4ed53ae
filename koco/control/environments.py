"""The runtime environment of a release: what Ray makes for its runners and its endpoint."""

from typing import Any

from koco.control.bundles import Bundles
from koco.store.model import Release


class Environments:
    """Makes Ray's `runtime_env` of a release."""

    def __init__(self, bundles: Bundles) -> None:
        self._bundles = bundles

    async def of(self, release: Release) -> dict[str, Any]:
        """Return the environment in which a release's code runs."""
        runtime = release.manifest["runtime"]
        environment: dict[str, Any] = {
            # Modules, not a working directory: that is shared by all workers of a node.
            "py_modules": [self._bundles.url(release.bundle)],
            # The release is in it so that an environment that failed, which Ray
            # remembers for ten minutes, is not what the next release gets.
            "env_vars": {
                **runtime["env"],
                "KOCO_SERVICE": release.service,
                "KOCO_RELEASE": str(release.number),
            },
        }
        if runtime["dependencies"]:
            environment["pip"] = list(runtime["dependencies"])
        return environment
