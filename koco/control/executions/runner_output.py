"""The output of a service's runner processes outside any execution, as one stream."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import msgspec

from koco import tokens
from koco.cluster.dashboard import ServeError
from koco.cluster.runner_logs import STREAMS, RunnerLogs, Source
from koco.control.executions.supervisor import Supervisor
from koco.control.services.secrets import Vault
from koco.store.store import Store

#: How many lists of lines wait for a slow client.
_WAITING = 64
#: How often a follower looks whether there are new runners (seconds). That asks nobody else.
_LOOK_S = 1.0


class OutputLine(msgspec.Struct, frozen=True):
    """A line that a runner's process wrote."""

    service: str
    release: int
    runner: str
    stream: str
    text: str


class Output:
    """Reads for one client."""

    def __init__(self, store: Store, supervisor: Supervisor, vault: Vault, service: str) -> None:
        self._store = store
        self._supervisor = supervisor
        self._vault = vault
        self._service = service
        self._logs = RunnerLogs()
        self._queue: asyncio.Queue[list[OutputLine]] = asyncio.Queue(_WAITING)
        self._known: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def stored(self, *, tail: int) -> AsyncGenerator[list[OutputLine]]:
        """Yield the last lines of each runner, alive or not.

        Raises:
            ServeError: Ray's dashboard does not answer.
        """
        for source in await self._logs.sources(self._service):
            for suffix in STREAMS:
                yield await self._last(source, suffix, tail)

    async def follow(self, *, tail: int, heartbeat_s: float) -> AsyncGenerator[list[OutputLine]]:
        """Yield the same, then what comes, also of new runners. An empty list is a heartbeat.

        Raises:
            ServeError: Ray's dashboard does not answer at first.
        """
        for source in await self._logs.sources(self._service):
            if source.is_alive:
                self._watch(source, tail)
            else:
                self._known.add(source.runner)
                for suffix in STREAMS:
                    yield await self._last(source, suffix, tail)
        silent_s = 0.0
        try:
            while True:
                try:
                    yield await asyncio.wait_for(self._queue.get(), _LOOK_S)
                    silent_s = 0.0
                except TimeoutError:
                    silent_s += _LOOK_S
                    await self._look()
                    if silent_s >= heartbeat_s:
                        yield []
                        silent_s = 0.0
        finally:
            for task in self._tasks:
                task.cancel()

    async def _look(self) -> None:
        """Watch runners that have started since."""
        pools = self._supervisor.pools.items()
        present = {name for key, pool in pools if key[0] == self._service for name in pool.runners}
        if present <= self._known:
            return
        with suppress(ServeError):  # it is asked again soon
            for source in await self._logs.sources(self._service):
                if source.runner not in self._known:
                    self._watch(source, -1)

    def _watch(self, source: Source, tail: int) -> None:
        self._known.add(source.runner)
        for suffix in STREAMS:
            task = asyncio.create_task(self._read(source, suffix, tail))
            self._tasks.append(task)

    async def _read(self, source: Source, suffix: str, tail: int) -> None:
        with suppress(ServeError):  # the runner's node or the dashboard is gone
            async for lines in self._logs.follow(source, suffix, lines=tail):
                await self._queue.put(await self._shown(source, suffix, lines))

    async def _last(self, source: Source, suffix: str, tail: int) -> list[OutputLine]:
        try:
            lines = await self._logs.stored(source, suffix, lines=tail)
        except ServeError:
            return []  # its node is gone, or it never had a process
        return await self._shown(source, suffix, lines)

    async def _shown(self, source: Source, suffix: str, lines: list[bytes]) -> list[OutputLine]:
        """Return lines with the service's secrets masked."""
        release = await self._store.releases.get(self._service, source.release)
        masks = await self._vault.masks(release)
        return [
            OutputLine(
                service=self._service,
                release=source.release,
                runner=source.runner,
                stream=STREAMS[suffix],
                text=tokens.mask_all(masks.text(line.decode("utf-8", "replace"))),
            )
            for line in lines
        ]
