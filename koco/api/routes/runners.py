"""Runners: the processes in which executions run, and what they use."""

import asyncio
from typing import Annotated, Literal, Self

from litestar import get
from msgspec import Meta

from koco.api.http import list_query
from koco.api.http.auth import requires, sees
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Shape
from koco.control.container import Parts
from koco.control.runners.worker import Runner
from koco.errors import KocoError
from koco.store.model import Page

#: How long a node may take to say what its processes use (seconds).
_LOOK_S = 3.0


class RunnerState(Shape):
    """A runner. What it uses is null if its node does not say."""

    service: shapes.Service
    release: shapes.Number
    id: str
    node: Annotated[str, Meta(description="the id of its node in Ray, empty while unknown")]
    status: Literal["starting", "ready", "leaving"]
    running: Annotated[int, Meta(description="the executions in it")]
    served: Annotated[int, Meta(description="the executions that it has begun so far")]
    cpu_s: Annotated[float | None, Meta(description="CPU time of its process so far")]
    memory_bytes: Annotated[int | None, Meta(description="resident memory of its process")]

    @classmethod
    async def look(cls, runner: Runner, service: str, release: int) -> Self:
        """Return a runner with what its process uses just now."""
        seen = None
        if runner.is_ready:
            try:
                async with asyncio.timeout(_LOOK_S):
                    seen = await runner.actor.look()
            except (KocoError, TimeoutError):
                seen = None  # lost, or not there yet; its pool takes care of it
        status: Literal["starting", "ready", "leaving"] = "ready" if runner.is_ready else "starting"
        return cls(
            service=service,
            release=release,
            id=runner.id,
            node=runner.actor.node,
            status="leaving" if runner.is_leaving else status,
            running=len(runner.running),
            served=runner.served,
            cpu_s=None if seen is None else seen.cpu_s,
            memory_bytes=None if seen is None else seen.rss_bytes,
        )


@get("/v1/runners", guards=[requires("read")])
async def list_runners(
    request: Request, limit: int = 1000, cursor: str | None = None
) -> Page[RunnerState]:
    """List the runners with the CPU time and memory of their processes, measured now."""
    parts = request.parts
    keys = [key for key in [*parts.supervisor.pools] if await _is_seen(request, parts, key)]
    seen = [
        (runner, service, release)
        for service, release in keys
        if (pool := parts.supervisor.pools.get((service, release)))
        for runner in pool.runners.values()
    ]
    page = list_query.page(seen, by=_place, limit=limit, cursor=cursor)
    return Page(await asyncio.gather(*(RunnerState.look(*each) for each in page.items)), page.next)


def _place(found: tuple[Runner, str, int]) -> str:
    """Return what runners are ordered by: service, release and id."""
    runner, service, release = found
    return f"{service} {release:020} {runner.id}"


async def _is_seen(request: Request, parts: Parts, key: tuple[str, int]) -> bool:
    return not request.auth.flows or sees(request.auth, await parts.store.releases.get(*key))


ROUTES = (list_runners,)
