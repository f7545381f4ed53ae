"""Why services' executions cannot run: no runner starts, finds a place, or no endpoint comes up."""

from koco.cluster import placement
from koco.control.parts import Parts
from koco.store.model import Release


async def of(parts: Parts) -> dict[str, str]:
    """Return what is wrong, by service."""
    pools = parts.supervisor.pools.items()
    starting = {service: pool.trouble for (service, _), pool in pools if pool.trouble}
    lost = await unplaced(parts, await parts.store.releases("live"))
    return {**lost, **parts.deployer.troubles, **starting}


async def unplaced(parts: Parts, live: list[Release]) -> dict[str, str]:
    """Return why runners that are on their way cannot get there, by service."""
    pools = parts.supervisor.pools
    waiting = [
        release
        for release in live
        if (pool := pools.get((release.service, release.number))) and pool.is_starting
    ]
    if not waiting:
        return {}
    nodes = await parts.cluster.nodes()
    said = {each.service: placement.misfit(each.manifest["runner"], nodes) for each in waiting}
    return {service: f"runners cannot be placed: {why}" for service, why in said.items() if why}
