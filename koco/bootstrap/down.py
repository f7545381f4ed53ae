"""`koco down` in a process that has joined Ray: remove the control plane and its runners.

Ray's own Python may lack koco's requirements, so this module imports without them.
"""

import asyncio
import contextlib
import time
from typing import Any

import ray

from koco.errors import KocoError
from koco.sdk.process import control_client

#: How long Ray may take to end actors (seconds).
_GONE_S = 15.0


def down() -> dict[str, Any]:
    """Remove the control plane and its runners from Ray, which continues to run."""
    ended: set[str] = set()
    deadline = time.monotonic() + _GONE_S
    while present := _actors():
        if time.monotonic() > deadline:
            raise KocoError("Ray has not ended koco's actors yet", hint="run `koco down` again")
        # The control plane ends first, because it would start new runners for those that end. There
        # are two if an upgrade was interrupted. Then the older one is in charge.
        # Its other processes end with it, because one of them would take over.
        if controls := {name: present[name] for name in present if control_client.place(name)}:
            if not ended:
                # Closing is not required, because the store survives a killed process.
                with contextlib.suppress(ray.exceptions.RayError):
                    oldest = min(controls, key=lambda name: control_client.place(name) or (0, 0))
                    ray.get(controls[oldest].close.remote(), timeout=10)
            present = controls
        for name, actor in present.items():
            ray.kill(actor, no_restart=True)
            ended.add(name)
        time.sleep(0.05)
    _end_leftovers()
    return {"ended": len(ended)}


def _end_leftovers() -> None:
    """End processes that outlive their actors, for example because of a non-daemon thread.

    Ray's own Python may lack the packages for it. Then the processes stay until the next control
    plane starts.
    """
    try:
        from koco.cluster import runners
    except ModuleNotFoundError:
        return
    asyncio.run(runners.kill_leftovers())


def _actors() -> dict[str, Any]:
    """Return koco's actors by name."""
    found: dict[str, Any] = {}
    for entry in ray.util.list_named_actors(all_namespaces=True):
        name, namespace = entry["name"], entry["namespace"]
        if namespace == control_client.NAMESPACE:
            with contextlib.suppress(ValueError):  # it ended between the two calls
                found[name] = ray.get_actor(name, namespace=namespace)
    return found
