"""Pools and their supervisor, over a real store, with runners that live in this process."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koco.cluster.node_processes import Sighting
from koco.cluster.runners import ENDED, RunnerDied
from koco.control import tasks
from koco.control.events.chunk_reader import Wanted
from koco.control.runners import liveness, reattach, start_backoff, worker
from koco.control.runners import pool as module
from koco.errors import ConflictError
from koco.events.model import Status
from koco.events.wire import Batch
from koco.runner.spec import PROTOCOL, ImportFailure, Launch, Presence
from koco.sdk.process.crash import End
from koco.store.errors import StoreError
from koco.store.model import NewExecution
from tests.support.pools import FakeRunner, World, eventually, soon, world
from tests.support.releases import manifest
from tests.support.stores import events


def test_one_warm_runner_serves_many_executions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`min` runners are kept; quick executions reuse them, and none is added."""
    # On a busy machine they are not quick enough for the real one.
    monkeypatch.setattr(module, "_PATIENCE_S", 30.0)

    async def body(w: World) -> None:
        await w.live()
        made = [await w.launch() for _ in range(20)]
        for execution in made:
            await w.until(execution.fid, Status.FINISHED)
        assert w.began == [execution.fid for execution in made], "in the order of their launch"
        assert len(w.runners) == 1

    world(tmp_path, body)


def test_an_execution_that_waited_for_a_runner_is_told_how_that_started(tmp_path: Path) -> None:
    """In its `starting` event: the environment and the imports. Later ones have not waited."""

    async def starting(w: World) -> Any:
        execution = await w.launch()
        await eventually(lambda: bool(w.runners))
        await asyncio.sleep(0.05)
        w.importing.set()
        await w.until(execution.fid, Status.FINISHED)
        told = [event["payload"] for event in await events(w.store, execution)]
        return next(each for each in told if each.get("status") == "starting")

    async def body(w: World) -> None:
        w.importing.clear()
        await w.live(min=0)
        told = await starting(w)
        assert told["environment_s"] >= 0.04
        assert told["import_s"] == 0
        assert await starting(w) == {"status": "starting"}

    world(tmp_path, body)


def test_an_execution_that_cannot_begin_ends(tmp_path: Path) -> None:
    """With an error, instead of staying `starting`. The next one gets its place."""

    async def body(w: World) -> None:
        await w.live(max=1)
        w.fault = TypeError("another version's words")
        failed = await w.until((await w.launch()).fid, Status.ERROR)
        assert failed.error is not None
        assert failed.error.type == "RunnerFailed"
        w.fault = None
        await w.until((await w.launch()).fid, Status.FINISHED)

    world(tmp_path, body)


def test_the_pool_grows_to_its_maximum_and_shrinks(tmp_path: Path) -> None:
    """A line that does not clear adds runners up to `max`; idle ones leave."""

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(idle_timeout=0)
        made = [await w.launch() for _ in range(5)]
        await eventually(lambda: len(w.began) == 3)
        await asyncio.sleep(0.1)
        assert len(w.runners) == 3
        for execution in made:
            await w.until(execution.fid, Status.RUNNING)
            runner = next(r for r in w.runners if execution.fid in r.fids)
            await runner.report(execution.fid, Status.FINISHED, count=1)
        w.supervisor.pool(release).trim()
        await eventually(lambda: len(w.ended) == 2)

    world(tmp_path, body)


def test_concurrency_fills_one_process_first(tmp_path: Path) -> None:
    """No other is started while a runner has room."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(concurrency=10)
        for _ in range(10):
            await w.launch()
        await eventually(lambda: len(w.began) == 10)
        await asyncio.sleep(0.1)
        assert len(w.runners) == 1

    world(tmp_path, body)


def test_a_runner_leaves_after_its_number_of_executions(tmp_path: Path) -> None:
    """`executions: 1` gives each execution a process of its own."""

    async def body(w: World) -> None:
        await w.live(executions=1)
        for _ in range(3):
            await w.until((await w.launch()).fid, Status.FINISHED)
        assert [len(runner.fids) for runner in w.runners[:3]] == [1, 1, 1]
        await eventually(lambda: len(w.ended) == 3)

    world(tmp_path, body)


def test_a_death_ends_executions_with_the_cause(tmp_path: Path) -> None:
    """A running execution ends as `error`; the next one gets a new runner."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        execution = await w.launch()
        await w.until(execution.fid, Status.RUNNING)
        w.runners[0].die("struck by lightning")
        done = await w.until(execution.fid, Status.ERROR)
        assert done.error and "struck by lightning" in done.error.message
        w.ends = True
        await w.until((await w.launch()).fid, Status.FINISHED)

    world(tmp_path, body)


def test_a_death_before_the_start_runs_the_execution_elsewhere(tmp_path: Path) -> None:
    """It has done nothing before `running`, so it is queued again unnoticed."""

    async def body(w: World) -> None:
        w.begins = False
        await w.live()
        execution = await w.launch()
        await eventually(lambda: bool(w.runners and w.runners[0].fids))
        w.begins = True
        w.runners[0].die()
        await w.until(execution.fid, Status.FINISHED)
        assert len(w.runners) == 2

    world(tmp_path, body)


def test_a_release_that_cannot_start_backs_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starts are tried with growing pauses and reported, and executions wait."""
    monkeypatch.setattr(start_backoff, "_PAUSES_S", (0.05, 0.1))

    async def body(w: World) -> None:
        w.problem = ImportFailure(entrypoint="m:f", message="no such module")
        release = await w.live()
        execution = await w.launch()
        await asyncio.sleep(0.5)
        assert 2 <= len(w.runners) <= 12
        assert "no such module" in (w.supervisor.pool(release).trouble or "")
        w.problem = None
        await w.until(execution.fid, Status.FINISHED)
        assert w.supervisor.pool(release).trouble is None

    world(tmp_path, body)


def test_a_cancel_asks_first_and_kills_after_the_grace(tmp_path: Path) -> None:
    """The runner is asked; after the grace its process ends, as the stream says."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        execution = await w.launch()
        await w.until(execution.fid, Status.RUNNING)
        await w.supervisor.cancel(execution.fid, grace_s=0.05)
        await eventually(lambda: w.runners[0].cancelled == [execution.fid])
        await w.until(execution.fid, Status.CANCELLED)
        assert w.runners[0].over.done()
        with pytest.raises(ConflictError, match="cancelled"):
            await w.supervisor.cancel(execution.fid, grace_s=0)
        w.ends = True
        await w.until((await w.launch()).fid, Status.FINISHED)

    world(tmp_path, body)


def test_a_cancel_does_not_wait_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner that neither answers nor ends delays nobody."""
    monkeypatch.setattr(module, "_CANCEL_S", 0.05)

    async def body(w: World) -> None:
        w.ends = False
        await w.live(max=1)
        execution = await w.launch()
        await w.until(execution.fid, Status.RUNNING)
        w.answering.clear()
        w.killing.clear()
        await w.supervisor.cancel(execution.fid, grace_s=0.05)
        await soon(w.until(execution.fid, Status.CANCELLED), within_s=1)
        w.ends = True
        await w.until((await w.launch()).fid, Status.FINISHED)

    world(tmp_path, body)


def quick_vigil(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASK_S", "ANSWER_S", "LOOK_S"):
        monkeypatch.setattr(liveness, name, 0.02)


def test_replaces_a_runner_that_no_longer_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its executions end with the finding; those that never began run elsewhere."""
    quick_vigil(monkeypatch)

    async def body(w: World) -> None:
        w.ends = False
        await w.live(max=1, concurrency=2)
        begun = await w.launch()
        await w.until(begun.fid, Status.RUNNING)
        w.begins = False
        given = await w.launch()
        await eventually(lambda: given.fid in w.runners[0].fids)
        w.begins = w.ends = True
        w.runners[0].attach = asyncio.Event().wait  # type: ignore[assignment, method-assign]
        w.sighting = Sighting(state="T", at=0, cpu_s=0, rss_bytes=0)
        done = await w.until(begun.fid, Status.ERROR)
        assert done.error
        assert "a signal had stopped its process" in done.error.message
        assert w.runners[0].over.done()
        await w.until(given.fid, Status.FINISHED)

    world(tmp_path, body)


def test_executions_that_a_busy_runner_cannot_begin_go_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that holds the interpreter may finish, but nobody waits for it."""
    quick_vigil(monkeypatch)
    monkeypatch.setattr(module, "_BEGIN_S", 0.1)

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(max=2, concurrency=2)
        busy = await w.launch()
        await w.until(busy.fid, Status.RUNNING)
        hanging, usual = asyncio.Event(), w.runners[0].launch

        async def launch(order: Launch) -> None:
            await hanging.wait()

        async def attach() -> Presence:
            await hanging.wait()
            return await answers()

        answers, w.runners[0].launch = w.runners[0].attach, launch  # type: ignore[method-assign]
        given = await w.launch()
        await w.until(given.fid, Status.STARTING)
        w.sighting = Sighting(state="R", at=0, cpu_s=0, rss_bytes=0, running=1)
        w.ends = True
        w.runners[0].attach = attach  # type: ignore[method-assign]
        await eventually(lambda: len(w.runners) == 2)
        await w.until(given.fid, Status.FINISHED)
        assert given.fid in w.runners[1].fids
        assert w.supervisor.why(await w.store.executions.get(busy.fid))
        assert (await w.store.executions.get(busy.fid)).status is Status.RUNNING
        hanging.set()
        w.runners[0].launch = usual  # type: ignore[method-assign]
        await w.runners[0].report(busy.fid, Status.FINISHED, count=1)
        await eventually(lambda: not w.supervisor.pool(release).has_work)
        assert not w.runners[0].over.done()

    world(tmp_path, body)


def test_a_crash_loop_ends_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tries with growing pauses, which are reported. Then it ends."""
    monkeypatch.setattr(start_backoff, "_PAUSES_S", (0.05, 1.2, 0.05))

    async def body(w: World) -> None:
        release = await w.live(max=1)
        w.dies_of = "its process crashed"
        execution = await w.launch()
        await eventually(lambda: len(w.runners) == 2 and w.runners[1].over.done())
        await w.until(execution.fid, Status.QUEUED)
        await asyncio.sleep(0.05)
        why = w.supervisor.why(await w.store.executions.get(execution.fid)) or ""
        assert "its runners end before they begin: its process crashed; next try at" in why
        assert w.supervisor.pool(release).trouble
        done = await w.until(execution.fid, Status.ERROR)
        assert done.error
        assert done.error.type == "RunnerDied"
        assert "3 runners ended, one after the other" in done.error.message
        assert len(w.runners) == 3
        w.dies_of = None
        await w.until((await w.launch()).fid, Status.FINISHED)
        await eventually(lambda: w.supervisor.pool(release).trouble is None)

    world(tmp_path, body)


def test_idle_deaths_slow_down_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count like failed starts. A runner that lived long counts as working."""
    monkeypatch.setattr(start_backoff, "_PAUSES_S", (0.02, 0.3))

    async def body(w: World) -> None:
        release = await w.live()
        pool = w.supervisor.pool(release)
        for count in (1, 2):
            await eventually(lambda: bool(pool.runners))
            assert len(w.runners) == count
            w.runners[-1].die("again")
            await eventually(lambda: not pool.runners)
        await asyncio.sleep(0.1)
        assert len(w.runners) == 2
        assert "again" in pool.why
        await eventually(lambda: bool(pool.runners))
        assert pool.trouble
        monkeypatch.setattr(module, "LIVED_S", 0.0)
        await asyncio.sleep(0.01)
        pool.trim()
        assert pool.trouble is None

    world(tmp_path, body)


def test_forgets_idle_deaths_once_an_older_runner_has_worked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That no runner begins anything is not true any more, though the next start still waits."""
    monkeypatch.setattr(start_backoff, "_PAUSES_S", (30.0,))

    async def body(w: World) -> None:
        release = await w.live(min=2, max=2)
        pool = w.supervisor.pool(release)
        await eventually(lambda: len(pool.runners) == 2)
        w.ends = False
        execution = await w.launch()
        await w.until(execution.fid, Status.RUNNING)
        working = w.runner_of(execution.fid)
        next(each for each in w.runners if each is not working).die("killed by hand")
        await eventually(lambda: pool.trouble is not None)
        assert "end before they begin" in (pool.trouble or "")
        await working.report(execution.fid, Status.FINISHED)
        await eventually(lambda: pool.trouble is None)
        assert pool._setbacks.pause_s > 20

    world(tmp_path, body)


def test_delivers_a_dead_runners_last_output_first(tmp_path: Path) -> None:
    """It is collected once the process is gone, and may name the cause."""

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(max=2, min=2)
        execution, other = [await w.launch() for _ in range(2)]
        await w.until(execution.fid, Status.RUNNING)
        await w.until(other.fid, Status.RUNNING)
        w.left = End(code=7)
        dead, lost = w.runner_of(execution.fid), w.runner_of(other.fid)
        dead.die(f"its process (pid 1) {ENDED}")
        done = await w.until(execution.fid, Status.ERROR)
        assert done.error
        assert "ended with exit code 7" in done.error.message
        assert w.collected == [dead.spec.id]
        w.restart()
        await w.supervisor.recover({})
        done = await w.until(other.fid, Status.ERROR)
        assert done.error
        assert "ended with exit code 7" in done.error.message
        assert w.collected == [dead.spec.id, lost.spec.id]
        assert release.service == "svc"

    world(tmp_path, body)


def test_a_death_during_imports_has_an_exact_cause(tmp_path: Path) -> None:
    """How the process ended, where it crashed, its output; `koco status` shows it."""

    async def body(w: World) -> None:
        release = await w.live(min=0)
        pool = w.supervisor.pool(release)
        w.dies_of_imports = f"its process (pid 1) {ENDED}"
        w.left = End(signal=11, traceback="the frames\n", wrote="last words")
        with pytest.raises(RunnerDied) as told:
            await pool.probe()
        assert "its process (pid 1) was ended by SIGSEGV" in told.value.message
        assert told.value.detail == "the frames\n\nIt wrote last:\nlast words"
        pool.try_again()
        await eventually(lambda: pool.trouble is not None)
        assert "was ended by SIGSEGV" in str(pool.trouble)
        w.left = None  # nothing is known: Ray's word stays
        with pytest.raises(RunnerDied, match=ENDED) as told:
            await pool.probe()
        assert told.value.detail == ""

    world(tmp_path, body)


def test_a_cancel_spares_the_runners_other_executions(tmp_path: Path) -> None:
    """In a shared process they continue; it takes nothing new and leaves afterwards."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(concurrency=5)
        stuck, other = [await w.launch() for _ in range(2)]
        await w.until(other.fid, Status.RUNNING)
        await w.until(stuck.fid, Status.RUNNING)
        await w.supervisor.cancel(stuck.fid, grace_s=0.01)
        await w.until(stuck.fid, Status.CANCELLED)
        assert not w.runners[0].over.done()
        await w.runners[0].report(other.fid, Status.FINISHED, count=1)
        await eventually(lambda: w.ended == [w.runners[0]])

    world(tmp_path, body)


def test_durable_neighbours_of_a_blocked_loop_resume(tmp_path: Path) -> None:
    """Their process is ended once the execution that blocks it has ignored its cancellation."""

    async def body(w: World) -> None:
        w.ends = False
        w.is_blocked = True
        await w.live(concurrency=5, durable=True)
        stuck, other = [await w.launch() for _ in range(2)]
        await w.until(other.fid, Status.RUNNING)
        await w.until(stuck.fid, Status.RUNNING)
        await w.supervisor.cancel(stuck.fid, grace_s=0.01)
        await w.until(stuck.fid, Status.CANCELLED)
        await w.until_resumed(other.fid, 1)
        assert w.runners[0].over.done()
        assert w.runner_of(other.fid) is not w.runners[0]

    world(tmp_path, body)


def test_durable_neighbours_wait_for_those_that_are_not(tmp_path: Path) -> None:
    """The process stays while an execution is in it that would be lost."""

    async def body(w: World) -> None:
        w.ends = False
        w.is_blocked = True
        flows = [
            {"name": "flow", "entrypoint": "m:f", "durable": True},
            {"name": "plain", "entrypoint": "m:g"},
        ]
        runner = {"min": 1, "max": 3, "idle_timeout": 300, "concurrency": 5}
        await w.go_live(manifest(flows=flows, runner=runner))
        executions = [await w.launch(), await w.launch(), await w.launch("plain")]
        for each in executions:
            await w.until(each.fid, Status.RUNNING)
        stuck, other, plain = executions
        await w.supervisor.cancel(stuck.fid, grace_s=0.01)
        await w.until(stuck.fid, Status.CANCELLED)
        await asyncio.sleep(0.1)
        assert not w.runners[0].over.done()
        await w.runners[0].report(plain.fid, Status.FINISHED, count=1)
        await w.until_resumed(other.fid, 1)
        assert (await w.store.executions.get(plain.fid)).status is Status.FINISHED

    world(tmp_path, body)


def test_a_restart_continues_everything(tmp_path: Path) -> None:
    """Queued, running, lost and unconfirmed executions each go the right way."""

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(max=2, min=2)
        held, lost = [await w.launch() for _ in range(2)]
        await w.until(held.fid, Status.RUNNING)
        await w.until(lost.fid, Status.RUNNING)
        keeper = next(r for r in w.runners if held.fid in r.fids)
        queued = await w.launch()
        unheard = await w.launch()
        await w.store.executions.assign(unheard.fid, keeper.spec.id)
        w.restart()
        w.ends = True
        await w.supervisor.recover({("svc", release.number, keeper.spec.id): keeper})
        await w.until(lost.fid, Status.ERROR)
        await w.until(queued.fid, Status.FINISHED)
        await w.until(unheard.fid, Status.FINISHED)
        assert (await w.store.executions.get(held.fid)).status is Status.RUNNING
        await keeper.report(held.fid, Status.FINISHED, count=1)
        await w.until(held.fid, Status.FINISHED)

    world(tmp_path, body)


def test_removes_a_runner_that_nothing_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart, one of a removed release is asked to leave, then killed."""
    monkeypatch.setattr(worker, "_LEAVE_S", 0.05)

    async def body(w: World) -> None:
        await w.live()
        await eventually(lambda: len(w.runners) == 1)
        w.leaving.clear()
        w.restart()
        await w.supervisor.recover({("svc", 99, "x"): w.runners[0]})
        await eventually(w.runners[0].over.done)
        assert w.ended == []

    world(tmp_path, body)


def test_does_not_adopt_a_runner_whose_start_was_interrupted(tmp_path: Path) -> None:
    """It has imported nothing, so it is ended and others take its executions."""

    async def body(w: World) -> None:
        release = await w.live()
        await eventually(lambda: len(w.runners) == 1)
        [unready] = w.runners
        unready.is_ready = False
        w.restart()
        await w.supervisor.recover({("svc", release.number, unready.spec.id): unready})
        await w.until((await w.launch()).fid, Status.FINISHED)
        assert unready.over.done()
        assert unready.fids == []

    world(tmp_path, body)


def test_a_retired_release_finishes_its_executions(tmp_path: Path) -> None:
    """They run on it, and then its runners leave."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        old = await w.launch()
        await w.until(old.fid, Status.RUNNING)
        release = await w.live()
        w.supervisor.retire("svc", keep=release.number)
        await asyncio.sleep(0.05)
        assert w.ended == []
        await w.runners[0].report(old.fid, Status.FINISHED, count=1)
        await eventually(lambda: w.ended == [w.runners[0]])

    world(tmp_path, body)


def test_a_follower_gets_each_event_once_and_the_end(tmp_path: Path) -> None:
    """From any point: new events in order, heartbeats while idle, then the end."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live()
        execution = await w.launch()
        seen: list[int] = []
        beats = 0

        async def follow() -> None:
            nonlocal beats
            async for piece in w.spooler.follow(execution, since=1, heartbeat_s=0.02):
                beats += piece == b"\n"
                seen.extend(json.loads(text)["seq"] for text in piece.splitlines() if text)

        task = asyncio.create_task(follow())
        await w.until(execution.fid, Status.RUNNING)
        await asyncio.sleep(0.1)
        await w.runners[0].report(execution.fid, Status.FINISHED, count=1)
        await task
        done = await w.store.executions.get(execution.fid)
        assert seen == list(range(2, done.last_seq + 1))
        assert beats
        again = w.spooler.follow(execution, since=done.last_seq, heartbeat_s=0.02)
        assert [piece async for piece in again] == [], "coming back after the end ends at once"
        wanted = Wanted(frozenset({"final"}), tells_end=True)
        only = w.spooler.follow(execution, wanted, heartbeat_s=1)
        lines = b"".join([piece async for piece in only]).splitlines()
        assert [json.loads(text)["kind"] for text in lines] == ["final", "status"]

    world(tmp_path, body)


def test_a_death_during_the_assignment_runs_the_execution_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit was still under way, so nothing has run."""

    async def body(w: World) -> None:
        await w.live(max=1)
        await w.until((await w.launch()).fid, Status.FINISHED)
        gate, assign = asyncio.Event(), w.store.executions.assign

        async def late(fid: str, runner: str, start: Any) -> bool:
            await gate.wait()
            return await assign(fid, runner, start)

        monkeypatch.setattr(w.store.executions, "assign", late)
        execution = await w.launch()
        await asyncio.sleep(0)
        w.runners[0].die()
        await asyncio.sleep(0.02)
        gate.set()
        ended = await w.until(execution.fid, Status.FINISHED, Status.ERROR)
        assert (ended.status, len(w.runners)) == (Status.FINISHED, 2)

    world(tmp_path, body)


def test_a_runner_that_died_while_it_described_itself_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is gone, even if its remains have not been collected."""

    async def body(w: World) -> None:
        looked_at = asyncio.Event()

        async def looking(runner: str, node: str) -> None:
            await looked_at.wait()

        monkeypatch.setattr(w, "collect", looking)
        monkeypatch.setattr(worker, "_EXACT_S", 0.02)
        w.restart()
        w.dies_after_imports = True
        release = await w.live(max=1)
        pool = w.supervisor.pool(release)
        await eventually(lambda: pool.trouble is not None)
        assert pool.trouble == worker.SHORT_LIVED
        assert not pool.runners
        w.dies_after_imports = False
        looked_at.set()
        await w.until((await w.launch()).fid, Status.FINISHED)

    world(tmp_path, body)


@pytest.mark.parametrize("change", ["assign", "requeue", "settle", "settle after a cancel"])
def test_a_full_disk_leaves_no_execution_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What could not be written is written when there is room."""
    monkeypatch.setattr(tasks, "RETRY_S", 0.01)

    async def body(w: World) -> None:
        await w.live(max=1)
        w.begins, w.ends = (
            change in ("assign", "settle", "settle after a cancel"),
            change == "assign",
        )
        name = change.split(maxsplit=1)[0]
        fails, real = iter([True, True]), getattr(w.store.executions, name)

        async def full(*args: Any, **more: Any) -> Any:
            if next(fails, False):
                raise StoreError("no room")
            return await real(*args, **more)

        monkeypatch.setattr(w.store.executions, name, full)
        execution = await w.launch()
        if change == "assign":
            await w.until(execution.fid, Status.FINISHED)
            return
        await w.until(execution.fid, Status.RUNNING if w.begins else Status.STARTING)
        if change == "settle after a cancel":
            await w.supervisor.cancel(execution.fid, grace_s=0)
            await w.until(execution.fid, Status.CANCELLED)
            return
        if change == "requeue":
            w.begins = w.ends = True
        w.runners[0].die()
        await w.until(execution.fid, Status.FINISHED if change == "requeue" else Status.ERROR)

    world(tmp_path, body)


def test_a_restart_settles_thousands_in_launch_order(tmp_path: Path) -> None:
    """In few commits: executions that a reboot ended must not delay the start."""

    async def body(w: World) -> None:
        live = await w.live(min=0)
        new = NewExecution(flow="svc/flow", service="svc", release=live.number, inputs={})
        made = [(await each)[0] for each in [w.store.executions.create(new) for _ in range(300)]]
        for number, execution in enumerate(made):
            if number % 3:
                await w.store.executions.assign(execution.fid, "gone")
            if number % 3 == 1:
                batch = Batch(execution.fid, "p", 1, 0, b"", "gone", Status.RUNNING)
                await w.store.events.append([batch])
        commits = 0
        submit = w.store.engine._writer._commit

        def counted(changes: Any) -> Any:
            nonlocal commits
            commits += 1
            return submit(changes)

        w.store.engine._writer._commit = counted  # type: ignore[method-assign]
        w.importing.clear()
        w.restart()
        await w.supervisor.recover({})
        await w.until(made[-2].fid, Status.ERROR)
        await w.until(made[-1].fid, Status.QUEUED)
        assert commits < 10
        w.importing.set()
        for number, execution in enumerate(made):
            wanted = Status.ERROR if number % 3 == 1 else Status.FINISHED
            assert (await w.until(execution.fid, wanted)).status is wanted
        assert w.began == [each.fid for number, each in enumerate(made) if number % 3 != 1]

    world(tmp_path, body)


def silent(runner: FakeRunner) -> asyncio.Event:
    """Have a runner answer nothing until the event is set that is returned."""
    wakes = asyncio.Event()

    def held(call: Any) -> Any:
        async def answered(*args: Any) -> Any:
            await wakes.wait()
            return await call(*args)

        return answered

    for name in ("attach", "cancel", "launch"):
        setattr(runner, name, held(getattr(runner, name)))
    return wakes


def test_silent_runners_do_not_delay_a_restart(tmp_path: Path) -> None:
    """Launches run beside them; their executions are neither lost nor begun twice."""

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(min=3, max=4)
        held = [await w.launch() for _ in range(3)]
        for execution in held:
            await w.until(execution.fid, Status.RUNNING)
        frozen = list(w.runners)
        wakes = [silent(runner) for runner in frozen]
        present: Any = {("svc", release.number, each.spec.id): each for each in frozen}
        w.restart()
        await soon(w.supervisor.recover(present), within_s=0.5)
        w.ends = True
        await w.until((await w.launch()).fid, Status.FINISHED)
        assert [(await w.store.executions.get(e.fid)).status for e in held] == [Status.RUNNING] * 3
        await w.supervisor.cancel(held[0].fid, grace_s=0.0)
        await w.until(held[0].fid, Status.CANCELLED)
        for event in wakes:
            event.set()
        for execution in held[1:]:
            await w.runner_of(execution.fid).report(execution.fid, Status.FINISHED, count=1)
            await w.until(execution.fid, Status.FINISHED)
        assert sorted(w.began) == sorted({*w.began}), "each began once"

    world(tmp_path, body)


def test_replaces_a_runner_that_stays_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle one is ended. A busy one gets nothing new, and continues if it wakes."""
    monkeypatch.setattr(reattach, "_ATTACH_S", 0.05)

    async def body(w: World) -> None:
        release = await w.live(min=2, max=2)
        await eventually(lambda: len(w.supervisor.pool(release).runners) == 2)
        w.ends = False
        busy = await w.launch()
        await w.until(busy.fid, Status.RUNNING)
        worker = w.runner_of(busy.fid)
        [idle] = [each for each in w.runners if each is not worker]
        wakes, _ = silent(worker), silent(idle)
        present: Any = {("svc", release.number, each.spec.id): each for each in (worker, idle)}
        w.restart()
        await w.supervisor.recover(present)
        waiting = await w.launch()
        why = w.supervisor.why(await w.store.executions.get(waiting.fid))
        assert "have not answered yet since the control plane was restarted" in str(why)
        await w.until(waiting.fid, Status.RUNNING)
        assert idle.over.done()
        assert not worker.over.done()
        wakes.set()
        await worker.report(busy.fid, Status.FINISHED, count=1)
        await eventually(lambda: worker in w.ended)
        assert worker.fids == [busy.fid]

    world(tmp_path, body)


def test_a_launch_under_way_is_not_begun_elsewhere(tmp_path: Path) -> None:
    """It was sent before the restart and arrives after the runner's report."""

    async def body(w: World) -> None:
        w.begins = False
        release = await w.live(max=2)
        execution = await w.launch()
        await eventually(lambda: any(execution.fid in each.fids for each in w.runners))
        [runner] = w.runners
        runner.fids.clear()
        attach = runner.attach

        async def before_it_arrives() -> Presence:
            said = await attach()
            said = msgspec.structs.replace(said, fids=list(said.fids))
            runner.fids[:] = [execution.fid]
            return said

        runner.attach = before_it_arrives  # type: ignore[method-assign]
        w.restart()
        await w.supervisor.recover({("svc", release.number, runner.spec.id): runner})
        pool = w.supervisor.pool(release)
        await eventually(lambda: pool.runners[runner.spec.id].is_ready)
        assert (await w.store.executions.get(execution.fid)).runner == runner.spec.id
        assert not pool.line
        await runner.report(execution.fid, Status.FINISHED, count=1)
        await w.until(execution.fid, Status.FINISHED)

    world(tmp_path, body)


def test_a_runner_that_answers_nonsense_delays_nobody(tmp_path: Path) -> None:
    """Its process is broken. The start continues, the next one runs elsewhere."""

    async def body(w: World) -> None:
        release = await w.live()
        await eventually(lambda: len(w.supervisor.pool(release).runners) == 1)
        [broken] = w.runners

        async def attach() -> Presence:
            raise ValueError("broken")

        broken.attach = attach  # type: ignore[method-assign]
        w.restart()
        await w.supervisor.recover({("svc", release.number, broken.spec.id): broken})
        await w.until((await w.launch()).fid, Status.FINISHED)
        assert broken.over.done()

    world(tmp_path, body)


def test_a_lost_runners_remains_do_not_delay_a_restart(tmp_path: Path) -> None:
    """Its node is silent. Others are served, and it is settled once it answers."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(max=2)
        lost = await w.launch()
        await w.until(lost.fid, Status.RUNNING)
        told = asyncio.Event()

        async def collect(runner: str, node: str) -> End | None:
            await told.wait()
            return None

        w.collect = collect  # type: ignore[method-assign]
        w.restart()
        await soon(w.supervisor.recover({}), within_s=0.5)
        w.ends = True
        await w.until((await w.launch()).fid, Status.FINISHED)
        assert (await w.store.executions.get(lost.fid)).status is Status.RUNNING
        told.set()
        ended = await w.until(lost.fid, Status.ERROR)
        assert "lost while the control plane was away" in str(ended.error)

    world(tmp_path, body)


def test_a_runner_of_another_protocol_finishes_and_gets_nothing_new(tmp_path: Path) -> None:
    """After an upgrade, its executions end there and the next run elsewhere."""

    async def body(w: World) -> None:
        release = await w.live(concurrency=2, max=2)
        w.ends = False
        first = await w.launch()
        await w.until(first.fid, Status.RUNNING)
        [old] = w.runners
        old.protocol = PROTOCOL + 1
        present: Any = {("svc", release.number, old.spec.id): old}
        w.restart()
        await w.supervisor.recover(present)
        second = await w.launch()
        await w.until(second.fid, Status.RUNNING)
        assert old.fids == [first.fid]
        assert w.runners[-1].fids == [second.fid]
        await old.report(first.fid, Status.FINISHED, count=1)
        assert (await w.until(first.fid, Status.FINISHED)).runner == old.spec.id
        await eventually(lambda: old in w.ended)

    world(tmp_path, body)


def test_a_presence_without_a_protocol_means_the_first() -> None:
    """Runners from before there was a number."""
    said = {"pid": 1, "node": "n", "fids": [], "served": 0, "is_ready": True}
    told = msgspec.msgpack.encode(said)
    assert msgspec.msgpack.decode(told, type=Presence).protocol == 1


def test_a_restart_waits_for_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control plane that cannot write its findings must not stay broken."""
    monkeypatch.setattr(tasks, "RETRY_S", 0.01)

    async def body(w: World) -> None:
        await w.live(min=0)
        w.begins = False
        execution = await w.launch()
        await w.until(execution.fid, Status.STARTING)
        w.begins = True
        fails, requeue = iter([True, True]), w.store.executions.requeue

        async def full(fid: str, runner: str) -> bool:
            if next(fails, False):
                raise StoreError("no room")
            return await requeue(fid, runner)

        monkeypatch.setattr(w.store.executions, "requeue", full)
        w.restart()
        await w.supervisor.recover({})
        await w.until(execution.fid, Status.FINISHED)

    world(tmp_path, body)


def test_an_execution_cancelled_while_its_runner_dies_does_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would ask the next runner to end it."""

    async def body(w: World) -> None:
        w.begins = False
        await w.live()
        execution = await w.launch()
        await eventually(lambda: any(execution.fid in each.fids for each in w.runners))
        requeue = w.store.executions.requeue

        async def late(fid: str, runner: str) -> bool:
            await w.supervisor.cancel(fid, grace_s=0)
            return await requeue(fid, runner)

        monkeypatch.setattr(w.store.executions, "requeue", late)
        w.begins = True
        w.runners[0].die()
        await w.until(execution.fid, Status.CANCELLED, Status.FINISHED)
        assert (await w.store.executions.get(execution.fid)).status is Status.CANCELLED
        assert w.began == []

    world(tmp_path, body)


def test_a_cancelled_queue_keeps_no_pool(tmp_path: Path) -> None:
    """A retired one that cannot start is over, and starts no runner for nothing."""

    async def body(w: World) -> None:
        w.importing.clear()
        release = await w.live(min=0, max=1)
        made = [await w.launch() for _ in range(3)]
        pool = w.supervisor.pool(release)
        await eventually(lambda: pool.is_starting)
        pool.retire()
        for execution in made:
            await w.supervisor.cancel(execution.fid, grace_s=0)
        w.problem = ImportFailure(entrypoint="m:f", message="broken")
        w.importing.set()
        await eventually(lambda: pool.is_over)

    world(tmp_path, body)


def test_a_pool_forgets_what_it_killed(tmp_path: Path) -> None:
    """And executions from before a restart do not count as instant."""

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(min=1, max=1)
        execution = await w.launch()
        await w.until(execution.fid, Status.RUNNING)
        await w.supervisor.cancel(execution.fid, grace_s=0)
        await w.until(execution.fid, Status.CANCELLED)
        await eventually(lambda: not w.supervisor.pool(release)._began)
        adopted = await w.launch()
        await w.until(adopted.fid, Status.RUNNING)
        runner = w.runner_of(adopted.fid)
        w.restart()
        await w.supervisor.recover({("svc", release.number, runner.spec.id): runner})
        await runner.report(adopted.fid, Status.FINISHED, count=1)
        assert w.supervisor.pool(release).mean_s is None

    world(tmp_path, body)
