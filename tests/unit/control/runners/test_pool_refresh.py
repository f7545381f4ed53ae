"""A pool that is refreshed: each runner is replaced, and nothing that runs is ended."""

import asyncio
from pathlib import Path

from koco.events.model import Status
from koco.runner.spec import ImportFailure
from tests.support.pools import World, world


async def _until(claim: object) -> None:
    async with asyncio.timeout(60):
        while not claim():  # type: ignore[operator]
            await asyncio.sleep(0.002)


def test_replaces_an_idle_runner_after_the_new_one_is_ready(tmp_path: Path) -> None:
    """Nobody waits for a start. A second refresh meanwhile counts, too."""

    async def body(w: World) -> None:
        release = await w.live(max=2)
        pool = w.supervisor.pool(release)
        await _until(lambda: len(pool.runners) == 1)
        [former] = w.runners
        w.importing.clear()
        pool.refresh()
        await _until(lambda: len(w.runners) == 2)
        assert former.spec.id in pool.runners  # until the new one is ready
        pool.refresh()  # the new one has asked for its secrets already
        w.importing.set()
        await _until(lambda: len(w.runners) == 3 and len(pool.runners) == 1)
        assert list(pool.runners) == [w.runners[2].spec.id]
        await _until(lambda: len(w.ended) == 2)

    world(tmp_path, body)


def test_replaces_a_runner_that_was_starting(tmp_path: Path) -> None:
    """It may have fetched its secrets before they changed."""

    async def body(w: World) -> None:
        w.importing.clear()
        pool = w.supervisor.pool(await w.live(max=2))
        await _until(lambda: len(w.runners) == 1)
        pool.refresh()
        await asyncio.sleep(0.01)
        w.importing.set()
        await _until(lambda: w.runners[1:] and [*pool.runners] == [w.runners[1].spec.id])
        assert list(pool.runners) == [w.runners[1].spec.id]

    world(tmp_path, body)


def test_a_busy_runner_finishes_and_leaves(tmp_path: Path) -> None:
    """It takes nothing new. At the pool's maximum, launches wait for the next one."""

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(max=1)
        first = await w.launch()
        await w.until(first.fid, Status.RUNNING)
        pool = w.supervisor.pool(release)
        pool.refresh()
        await asyncio.sleep(0.02)
        second = await w.launch()
        await asyncio.sleep(0.02)
        assert (await w.store.executions.get(first.fid)).status is Status.RUNNING
        assert (await w.store.executions.get(second.fid)).status is Status.QUEUED
        w.ends = True
        await w.runners[0].report(first.fid, Status.FINISHED)
        await w.until(second.fid, Status.FINISHED)
        assert w.runner_of(second.fid) is not w.runner_of(first.fid)

    world(tmp_path, body)


def test_keeps_the_former_runner_if_no_new_one_starts(tmp_path: Path) -> None:
    """A value that breaks the imports does not stop the service."""

    async def body(w: World) -> None:
        release = await w.live(max=2)
        pool = w.supervisor.pool(release)
        await _until(lambda: len(pool.runners) == 1)
        w.problem = ImportFailure(flow="f", entrypoint="m:f", message="no")
        pool.refresh()
        await _until(lambda: pool.trouble is not None)
        assert list(pool.runners) == [w.runners[0].spec.id]
        fid = (await w.launch()).fid
        await w.until(fid, Status.FINISHED)
        assert w.runner_of(fid) is w.runners[0]

    world(tmp_path, body)
