"""Executions whose processes have died repeatedly, over a real store."""

import asyncio
from pathlib import Path

from koco.control.runners.pool import Pool
from koco.events import steps
from koco.events.model import Status
from koco.events.wire import Batch
from koco.store.model import NewExecution, Policy
from tests.support.durable_executions import record
from tests.support.pools import World, eventually, world


def pool_of(w: World) -> Pool:
    return w.supervisor.pools["svc", 1]


def running(w: World) -> list[set[str]]:
    """Return what runs in each runner of the pool."""
    return [each.running for each in pool_of(w).runners.values() if each.running]


async def launch_suspect(w: World) -> str:
    """Queue an execution whose processes have died twice."""
    new = NewExecution(
        flow="svc/flow", service="svc", release=1, inputs={}, policy=Policy(durable=True)
    )
    execution, _ = await w.store.executions.create(new)
    change = "UPDATE executions SET deaths = 2 WHERE fid = :fid"
    await w.store.engine.write(lambda db: db.execute(change, {"fid": execution.fid}))
    w.supervisor.wake(execution.fid)
    await eventually(lambda: execution.fid in w.supervisor.load)
    return execution.fid


async def died_twice(w: World) -> list[str]:
    """Return two executions whose common process has died twice. The first one runs."""
    fids = [(await w.launch()).fid for _ in range(2)]
    for death in range(2):
        for fid in fids:
            await w.until_resumed(fid, death)
        assert running(w) == [set(fids)]
        w.runner_of(fids[0]).die("signal 9")
        for fid in fids:
            await eventually_resumed(w, fid, death + 1)
    await eventually(lambda: bool(running(w)))
    first = next(iter(running(w)[0]))
    return sorted(fids, key=lambda fid: fid != first)


async def eventually_resumed(w: World, fid: str, times: int) -> None:
    while (await w.store.executions.get(fid)).resumed < times:
        await asyncio.sleep(0.002)


async def record_outcome(w: World, execution: str) -> None:
    """Record the outcome of a step, as its runner does."""
    runner = w.runner_of(execution)
    body = steps.encode_line(record("a:0", 1))
    ack = await w.append(Batch(execution, "steps", 1, 1, body, runner.spec.id))
    assert not ack.closed


def test_the_culprit_dies_alone(tmp_path: Path) -> None:
    """Two executions die together twice. Then each gets a process of its own, one by one."""

    async def body(w: World) -> None:
        await w.live(max=1, concurrency=4, durable=True)
        w.ends = False
        culprit, innocent = await died_twice(w)
        while (await w.store.executions.get(culprit)).status is not Status.ERROR:
            for fids in running(w):
                assert len(fids) == 1, "never together again"
                runner = w.runner_of(next(iter(fids)))
                if fids == {innocent}:
                    await runner.report(innocent, Status.FINISHED, count=1)
                else:
                    runner.die("signal 9")
            await asyncio.sleep(0.002)
        await w.until(innocent, Status.FINISHED)
        ended = await w.store.executions.get(culprit)
        assert ended.error is not None
        assert "10 times in a row" in ended.error.message

    world(tmp_path, body)


def test_nothing_else_is_given_to_its_runner(tmp_path: Path) -> None:
    """Until it records an outcome, which shows that its process lives, or until it ends."""

    async def body(w: World) -> None:
        await w.live(max=1, concurrency=4, durable=True)
        w.ends = False
        first, second = await died_twice(w)
        await w.until_resumed(first, 2)
        third = (await w.launch()).fid
        await asyncio.sleep(0.2)
        assert running(w) == [{first}]
        waiting = await w.store.executions.get(second)
        assert "died 2 times in a row" in str(w.supervisor.why(waiting))
        await w.runner_of(first).report(first, Status.FINISHED, count=1)
        await w.until_resumed(second, 2)
        await asyncio.sleep(0.1)
        assert running(w) == [{second}]
        await record_outcome(w, second)
        await w.until(third, Status.RUNNING)
        assert running(w) == [{second, third}]

    world(tmp_path, body)


def test_half_of_the_runners_stay_for_others(tmp_path: Path) -> None:
    """However many must run alone."""

    async def body(w: World) -> None:
        await w.live(max=2, concurrency=4, durable=True)
        w.ends = False
        first, second = await died_twice(w)
        others = [(await w.launch()).fid for _ in range(3)]
        for fid in (first, *others):
            await w.until(fid, Status.RUNNING)
        await asyncio.sleep(0.2)
        assert sorted(running(w), key=len) == [{first}, set(others)]
        assert (await w.store.executions.get(second)).status is Status.QUEUED

    world(tmp_path, body)


def test_a_busy_runner_is_emptied_for_it(tmp_path: Path) -> None:
    """If there may be no further one: what comes later waits, so that it gets its turn."""

    async def body(w: World) -> None:
        await w.live(max=1, concurrency=4, durable=True)
        w.ends = False
        busy = (await w.launch()).fid
        await w.until(busy, Status.RUNNING)
        alone = await launch_suspect(w)
        later = (await w.launch()).fid
        await asyncio.sleep(0.2)
        assert running(w) == [{busy}]
        await w.runner_of(busy).report(busy, Status.FINISHED, count=1)
        await w.until(alone, Status.RUNNING)
        await asyncio.sleep(0.1)
        assert running(w) == [{alone}]
        await w.supervisor.cancel(alone, grace_s=0)
        await w.until(later, Status.RUNNING)

    world(tmp_path, body)


def test_it_stays_alone_across_a_restart(tmp_path: Path) -> None:
    """Of the control plane, whose next process finds it in its runner."""

    async def body(w: World) -> None:
        await w.live(max=1, concurrency=4, durable=True)
        w.ends = False
        first = await launch_suspect(w)
        await w.until(first, Status.RUNNING)
        runner = w.runner_of(first)
        present = {("svc", 1, runner.spec.id): runner}
        w.restart()
        await w.supervisor.recover(present)  # type: ignore[arg-type]
        await eventually(lambda: all(r.is_ready for r in pool_of(w).runners.values()))
        third = (await w.launch()).fid
        await asyncio.sleep(0.2)
        assert running(w) == [{first}]
        await record_outcome(w, first)
        await w.until(third, Status.RUNNING)

    world(tmp_path, body)
