"""What runners' processes write outside any execution: imports, threads left behind, crashes.

Ray keeps it in files on the nodes, and its dashboard hands it out. Ray has no times for the lines.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from koco.cluster import actor_names
from koco.cluster.dashboard import Dashboard

#: How Ray's own lines in these files begin.
_RAYS = (b":actor_name:", b":job_id:", b":task_name:")
#: How often a node looks for new lines of a file that is followed (seconds).
_INTERVAL_S = 0.5
#: How many dead runners of a service are looked at, the latest ones.
_DEAD = 5

#: The two streams of a process, by their suffixes in Ray.
STREAMS = {"out": "stdout", "err": "stderr"}


class Source(msgspec.Struct, frozen=True):
    """A runner's process, by its actor's id."""

    actor: str
    runner: str
    release: int
    is_alive: bool
    started_ms: int


class RunnerLogs:
    """Reads what runners have written. Only on request, because the dashboard is slow."""

    def __init__(self, dashboard: Dashboard | None = None) -> None:
        self._dashboard = dashboard or Dashboard()

    async def sources(self, service: str) -> list[Source]:
        """Return a service's runners, those that started last at the end.

        Raises:
            ServeError: Ray's dashboard does not answer.
        """
        actors = await self._dashboard.listed("actors", [("class_name", "=", "Runner")])
        found = [source for each in actors if (source := _source(each, service))]
        found.sort(key=lambda each: each.started_ms)
        dead = [each for each in found if not each.is_alive][-_DEAD:]
        return [each for each in found if each.is_alive or each in dead]

    async def stored(self, source: Source, suffix: str, *, lines: int) -> list[bytes]:
        """Return the last lines of one stream of a runner; empty if there is no such file.

        Raises:
            ServeError: Ray's dashboard does not answer.
        """
        query = {"actor_id": source.actor, "suffix": suffix, "lines": str(lines)}
        body = await self._dashboard.ask("GET", "/api/v0/logs/file", params=query)
        return _own(body.splitlines())

    async def follow(
        self, source: Source, suffix: str, *, lines: int
    ) -> AsyncIterator[list[bytes]]:
        """Yield the last lines of one stream of a runner, and those that come.

        Raises:
            ServeError: Ray's dashboard does not answer.
        """
        query = {
            "actor_id": source.actor,
            "suffix": suffix,
            "lines": str(lines),
            "interval": str(_INTERVAL_S),
        }
        rest = b""
        async for piece in self._dashboard.stream("/api/v0/logs/stream", params=query):
            *whole, rest = (rest + piece).split(b"\n")
            if found := _own(whole):
                yield found


def _source(actor: dict[str, Any], service: str) -> Source | None:
    name = actor_names.parse_runner(str(actor.get("name") or ""))
    if name is None or name[0] != service:
        return None
    return Source(
        actor=str(actor["actor_id"]),
        runner=name[2],
        release=name[1],
        is_alive=actor.get("state") != "DEAD",
        started_ms=int(actor.get("start_time_ms") or 0),
    )


def _own(lines: list[bytes]) -> list[bytes]:
    """Return the lines without Ray's own."""
    return [line for line in lines if not line.startswith(_RAYS)]
