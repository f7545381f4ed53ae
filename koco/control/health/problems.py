"""Finds out why executions of services cannot run.

The reasons are runners that do not start or find no node, and endpoints that do not come up.
"""

from koco.cluster import placement
from koco.control.container import Parts
from koco.store.model import Release


async def of(parts: Parts) -> dict[str, str]:
    """Return the problem of each service that has one, by service."""
    pools = parts.supervisor.pools.items()
    starting = {service: pool.trouble for (service, _), pool in pools if pool.trouble}
    live = await parts.store.releases.with_status("live")
    return {**await of_runners(parts, live), **parts.deployer.troubles, **starting}


async def of_runners(parts: Parts, live: list[Release]) -> dict[str, str]:
    """Return why no runner could start, by service, even if none has to start now."""
    return {**await unequipped(parts, live), **await unplaced(parts, live)}


async def unequipped(parts: Parts, live: list[Release]) -> dict[str, str]:
    """Return why a new runner could not get its secrets, by service."""
    if not any(release.manifest.secrets for release in live):
        return {}
    known = {each.name: each.trouble for each in await parts.vault.listing()}
    found: dict[str, str] = {}
    for release in live:
        for name in release.manifest.secrets:
            if why := known.get(name, f"there is no secret {name!r}"):
                found.setdefault(release.service, f"no new runner can start: {why}")
    return found


async def unplaced(parts: Parts, live: list[Release]) -> dict[str, str]:
    """Return why runners that are starting cannot be placed on a node, by service."""
    pools = parts.supervisor.pools
    waiting = [
        release
        for release in live
        if (pool := pools.get((release.service, release.number))) and pool.is_starting
    ]
    if not waiting:
        return {}
    nodes = await parts.cluster.nodes()
    message = {each.service: placement.misfit(each.manifest.runner, nodes) for each in waiting}
    return {service: f"runners cannot be placed: {why}" for service, why in message.items() if why}
