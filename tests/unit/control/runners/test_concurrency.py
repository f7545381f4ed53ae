"""Limits: how much runs and waits at once, for how long, and how often it is tried."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koco.control.executions import supervisor as supervising
from koco.control.runners.concurrency import Load, limits_of, policy_of
from koco.control.runners.queue import Line
from koco.control.settings import Settings
from koco.errors import TooManyError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.manifest.model import Limits
from koco.store.model import Execution, Failure, FailureEvent, NewExecution, Policy
from tests.support.pools import World, eventually, world
from tests.support.releases import manifest

SHORT = {"backoff": 0.02}


async def begun(w: World, flow: str = "flow") -> Execution:
    execution = await w.launch(flow)
    return await w.until(execution.fid, Status.RUNNING)


async def stream(w: World, execution: Execution) -> list[dict[str, Any]]:
    chunks = await w.store.events.after(execution.id, 0, budget_bytes=1 << 20)
    pairs = [pair for each in chunks for pair in line.number_lines(each.first, each.body)]
    events = [line.decode(seq, text) for seq, text in pairs]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return events


def told(events: list[dict[str, Any]]) -> list[Any]:
    """Return the statuses, and which attempt each queued one begins."""
    statuses = [event["payload"] for event in events if event["kind"] == "status"]
    return [(each["status"], each["attempt"]) if "attempt" in each else each["status"]
            for each in statuses]  # fmt: skip


def test_no_more_run_at_once_than_the_limit(tmp_path: Path) -> None:
    """However much room there is. The next begins when one has ended."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"running": 2}, concurrency=10)
        made = [await w.launch() for _ in range(4)]
        await eventually(lambda: len(w.began) == 2)
        await asyncio.sleep(0.05)
        assert set(w.began) == {each.fid for each in made[:2]}
        why = w.supervisor.why(await w.store.executions.get(made[3].fid))
        assert why == "2 run of at most 2"
        await w.runner_of(made[0].fid).report(made[0].fid, Status.FINISHED, count=1)
        await eventually(lambda: len(w.began) == 3)
        await w.supervisor.cancel(made[3].fid, grace_s=0)
        assert w.supervisor.load.waiting.total() == 0

    world(tmp_path, body)


def test_a_flow_at_its_limit_does_not_delay_others(tmp_path: Path) -> None:
    """Other flows of its release pass it in the line."""

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(limits={}, flows=("slow", "quick"), concurrency=4, max=1)
        slow = {"name": "slow", "entrypoint": "m:f", "limits": {"running": 1}}
        quick = {"name": "quick", "entrypoint": "m:f"}
        limited = manifest(flows=[slow, quick], runner=release.manifest.runner.model_dump())
        release = msgspec.structs.replace(release, manifest=limited)
        w.supervisor.pools.clear()
        w.supervisor.pool(release).keep_warm()
        [first, second] = [await w.launch("slow") for _ in range(2)]
        await w.until(first.fid, Status.RUNNING)
        others = [(await begun(w, "quick")).fid for _ in range(3)]
        # The runner notes that it has begun one after everybody else can know it.
        await eventually(lambda: len(w.began) > len(others))
        assert set(w.began) == {first.fid, *others}
        await w.runner_of(first.fid).report(first.fid, Status.FINISHED, count=1)
        await w.until(second.fid, Status.RUNNING)

    world(tmp_path, body)


def test_a_limit_counts_all_releases(tmp_path: Path) -> None:
    """Executions of the former release count; when they end, others begin."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"running": 1})
        old = await begun(w)
        release = await w.live(limits={"running": 1})
        w.supervisor.retire("svc", keep=release.number)
        new = await w.launch()
        await asyncio.sleep(0.05)
        assert (await w.store.executions.get(new.fid)).status is Status.QUEUED
        await w.runner_of(old.fid).report(old.fid, Status.FINISHED, count=1)
        await w.until(new.fid, Status.RUNNING)

    world(tmp_path, body)


def test_limits_hold_across_a_restart(tmp_path: Path) -> None:
    """Running executions are counted again."""

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(limits={"running": 1, "queue": 1}, concurrency=5)
        held = await begun(w)
        queued = await w.launch()
        [keeper] = w.runners
        w.restart()
        await w.supervisor.recover({("svc", release.number, keeper.spec.id): keeper})
        with pytest.raises(TooManyError):
            await w.launch()
        await asyncio.sleep(0.05)
        assert (await w.store.executions.get(queued.fid)).status is Status.QUEUED
        await keeper.report(held.fid, Status.FINISHED, count=1)
        await w.until(queued.fid, Status.RUNNING)

    world(tmp_path, body)


@pytest.mark.parametrize(
    ("limits", "settings", "most", "accepted", "says"),
    [
        ({"running": 1, "queue": 5}, {}, 3, 6, "5 executions of svc/flow wait already"),
        ({"queue": 5}, {}, 3, 8, "5 executions of svc/flow wait already"),
        ({"queue": 1}, {}, 3, 4, "1 execution of svc/flow waits already, and at most 1 may"),
        ({"queue": 0}, {}, 3, 3, "0 executions of svc/flow wait already, and at most 0 may"),
        ({}, {"max_queue": 4}, 2, 6, "4 executions of all flows wait already"),
        ({}, {"max_running": 1, "max_queue": 4}, 2, 5, "and at most 4 may: max_queue"),
    ],
)
def test_accepts_exactly_the_permitted_launches(
    tmp_path: Path, limits: Any, settings: Any, most: int, accepted: int, says: str
) -> None:
    """Of fifty at once. Nothing of the others is committed; a free place is given."""

    async def body(w: World) -> None:
        w.ends = False
        for name, value in settings.items():
            setattr(w.settings, name, value)
        await w.live(limits=limits, max=most)
        made = await asyncio.gather(*(w.launch() for _ in range(50)), return_exceptions=True)
        assert Counter(type(each).__name__ for each in made) == {
            "Execution": accepted,
            "TooManyError": 50 - accepted,
        }
        refusal = next(each for each in made if isinstance(each, TooManyError))
        assert says in refusal.message
        assert refusal.headers["Retry-After"] == "1"
        assert sum((await w.store.executions.count_by_status()).values()) == accepted
        running = min(most, limits.get("running", 9), settings.get("max_running", 9))
        await eventually(lambda: len(w.began) == running)
        first = next(each for each in made if isinstance(each, Execution))
        await w.runner_of(first.fid).report(first.fid, Status.FINISHED, count=1)
        await w.launch()
        with pytest.raises(TooManyError):
            await w.launch()

    world(tmp_path, body)


def test_the_control_planes_limit_goes_by_waiting_time(tmp_path: Path) -> None:
    """Between two releases, the longest waiting begins. Raising the limit works."""

    async def body(w: World) -> None:
        w.ends = False
        w.settings.max_running = 1
        await w.live()
        first = await begun(w)
        release = await w.live()
        await eventually(lambda: bool(w.supervisor.pool(release).runners))
        other = await w.launch()
        later = await w.supervisor.launch(
            NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
        )
        why = w.supervisor.why(await w.store.executions.get(other.fid))
        assert why == "1 of all flows runs of at most 1"
        await w.runner_of(first.fid).report(first.fid, Status.FINISHED, count=1)
        await w.until(other.fid, Status.RUNNING)
        assert (await w.store.executions.get(later.fid)).status is Status.QUEUED
        await eventually(lambda: len(w.began) == 2)
        w.settings.max_running = 0
        w.supervisor.pump()
        await eventually(lambda: len(w.began) == 3)

    world(tmp_path, body)


def test_a_launch_that_cannot_be_committed_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted while under way, and not afterwards."""

    async def body(w: World) -> None:
        await w.live(limits={"queue": 0}, max=1)

        async def broken(new: Any) -> Any:
            raise OSError("no disk")

        with monkeypatch.context() as patch:
            patch.setattr(w.store.executions, "create", broken)
            with pytest.raises(OSError, match="no disk"):
                await w.launch()
        await w.until((await w.launch()).fid, Status.FINISHED)
        load = w.supervisor.load
        await eventually(lambda: (load.waiting.total(), load.running.total()) == (0, 0))

    world(tmp_path, body)


def test_a_flows_own_limits_override_the_services() -> None:
    """Key by key. A manifest without limits has none."""
    flows = [{"name": "a", "limits": {"running": 2, "retries": 1}}, {"name": "b"}]
    limits = limits_of(manifest(flows=flows, limits={"running": 5, "timeout": 9.0}), "a")
    assert (limits.running, policy_of(limits)) == (2, Policy(timeout_s=9.0, retries=1))
    assert limits_of(manifest(flows=flows), "b") == limits_of(manifest(), "of an app")


def test_takes_the_first_that_the_limits_allow(tmp_path: Path) -> None:
    """Of any flow. One that comes back goes to the front."""

    async def body(w: World) -> None:
        await w.live(min=0, flows=("a", "b"))
        load = Load(Settings())
        waiting = Line(load, lambda flow: Limits(running=2 if flow == "svc/a" else None))
        made = [await w.launch(flow) for flow in ("a", "b", "a", "b", "a", "b")]
        for execution in made:
            load.enter(execution.fid, execution.flow)
            waiting.put(execution)
        first, second = waiting.take(), waiting.take()
        assert [first, second] == made[:2]
        assert first is not None
        waiting.put_back(first)
        assert waiting.ready() == 4
        taken = list(iter(waiting.take, None))
        assert taken == [made[0], made[2], made[3], made[5]]
        assert (bool(waiting), waiting.since, waiting.ready()) == (True, None, 0)
        load.leave(made[0].fid)
        assert waiting.take() == made[4]
        assert not waiting

    world(tmp_path, body)


def test_an_execution_that_left_is_not_counted() -> None:
    """However often it leaves, and whatever follows."""
    load = Load(Settings())
    load.enter("x", "f")
    load.begin("x")
    load.leave("x")
    load.leave("x")
    load.begin("x")
    load.go_back("x")
    assert (load.running.total(), load.waiting.total()) == (0, 0)


# time


def test_an_execution_ends_at_its_timeout(tmp_path: Path) -> None:
    """It is asked to end as by a cancel, and its error is `TimedOut`."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"timeout": 0.05, "retries": 3, "retry_errors": True})
        execution = await begun(w)
        runner = w.runner_of(execution.fid)
        await eventually(lambda: runner.cancelled == [execution.fid])
        await runner.report(execution.fid, Status.CANCELLED)
        ended = await w.until(execution.fid, Status.ERROR)
        message = "it ran for longer than its limit, limits.timeout: 0.05 s"
        assert ended.error == Failure(type="TimedOut", message=message)
        events = await stream(w, execution)
        assert [event["kind"] for event in events[-2:]] == ["error", "status"]
        assert told(events) == ["queued", "starting", "running", "error"]
        await eventually(lambda: w.supervisor.load.running.total() == 0)

    world(tmp_path, body)


def test_kills_what_does_not_end_after_its_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the grace, also if the control plane was restarted in between."""
    monkeypatch.setattr(supervising, "_GRACE_S", 0.05)

    async def body(w: World) -> None:
        w.ends = False
        release = await w.live(limits={"timeout": 0.1})
        execution = await begun(w)
        keeper = w.runner_of(execution.fid)
        w.restart()
        await w.supervisor.recover({("svc", release.number, keeper.spec.id): keeper})
        ended = await w.until(execution.fid, Status.ERROR)
        assert ended.error is not None
        assert ended.error.type == "TimedOut"
        assert keeper.cancelled
        assert keeper.over.done()

    world(tmp_path, body)


def test_a_timeout_pauses_while_a_person_is_awaited(tmp_path: Path) -> None:
    """It limits the running time; an answer may take long."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"timeout": 0.15})
        execution = await begun(w)
        await w.store.locks.open(execution.fid, "l", name="ok", data=None, expires=9e9)
        await asyncio.sleep(0.3)
        waits = await w.store.executions.get(execution.fid)
        assert (waits.status, waits.deadline, waits.timed_out) == (Status.AWAITING, None, None)
        await w.store.locks.withdraw("l")
        w.spooler.wake(execution.fid)
        assert (await w.store.executions.get(execution.fid)).status is Status.RUNNING
        await eventually(lambda: bool(w.runner_of(execution.fid).cancelled))

    world(tmp_path, body)


def test_a_cancel_after_the_timeout_counts_as_a_cancel(tmp_path: Path) -> None:
    """A person's decision takes precedence."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"timeout": 0.02})
        execution = await begun(w)
        await eventually(lambda: bool(w.runner_of(execution.fid).cancelled))
        await w.supervisor.cancel(execution.fid, grace_s=5)
        await w.runner_of(execution.fid).report(execution.fid, Status.CANCELLED)
        await w.until(execution.fid, Status.CANCELLED)

    world(tmp_path, body)


# retries


def test_retries_an_execution_whose_runner_dies(tmp_path: Path) -> None:
    """In one stream, with each cause and one final status. The pauses grow."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"retries": 2, "backoff": 0.5})
        execution = await begun(w)
        await w.store.locks.open(execution.fid, "l", name="ok", data=None, expires=9e9)
        w.runner_of(execution.fid).die("struck by lightning")
        waits = await w.until(execution.fid, Status.QUEUED)
        assert (waits.attempt, waits.runner) == (2, "")
        said = "attempt 2 begins at 2"
        await eventually(lambda: (w.supervisor.why(waits) or "").startswith(said))
        assert (await w.store.locks.get("l")).status == "withdrawn"
        await w.until(execution.fid, Status.RUNNING)
        w.runner_of(execution.fid).die("again")
        again = await w.until(execution.fid, Status.QUEUED)
        assert again.not_before is not None
        await w.until(execution.fid, Status.RUNNING)
        w.runner_of(execution.fid).die("once more")
        ended = await w.until(execution.fid, Status.ERROR)
        assert ended.attempt == 3
        events = await stream(w, execution)
        assert told(events) == [
            *("queued", "starting", "running", "awaiting", ("queued", 2)),
            *("starting", "running", ("queued", 3), "starting", "running", "error"),
        ]
        errors = [event["payload"]["message"] for event in events if event["kind"] == "error"]
        assert [each.rpartition(": ")[2] for each in errors] == [
            *("struck by lightning", "again", "once more")
        ]
        assert [e["payload"]["outcome"] for e in events if e["kind"] == "lease"] == ["withdrawn"]

    world(tmp_path, body)


def test_retries_errors_if_requested(tmp_path: Path) -> None:
    """In the same runner, too. Late events of the former attempt are dropped."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"retries": 1, "retry_errors": True, **SHORT})
        execution = await begun(w)
        assert await w.runner_of(execution.fid).report(execution.fid, Status.ERROR)
        runner = w.runners[0].spec.id
        late = Batch(execution.fid, "old", 1, 1, line.encode(Kind.RESULT, "late"), runner)
        assert [ack.closed for ack in await w.store.events.append([late])] == [True]
        await w.until(execution.fid, Status.RUNNING)
        assert len(w.runners) == 1
        await w.runner_of(execution.fid).report(execution.fid, Status.FINISHED, count=1)
        ended = await w.until(execution.fid, Status.FINISHED)
        assert (ended.attempt, ended.error) == (2, None)
        assert told(await stream(w, execution))[-4:] == [
            *(("queued", 2), "starting", "running", "finished")
        ]
        await eventually(lambda: w.supervisor.load.running.total() == 0)

    world(tmp_path, body)


@pytest.mark.parametrize("limits", [{}, {"retries": 3}])
def test_errors_are_final_otherwise(tmp_path: Path, limits: dict[str, Any]) -> None:
    """Retries are for dead runners, because a flow may have done half its work."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={**limits, **SHORT})
        execution = await begun(w)
        await w.runner_of(execution.fid).report(execution.fid, Status.ERROR)
        assert (await w.until(execution.fid, Status.ERROR)).attempt == 1

    world(tmp_path, body)


def test_does_not_retry_a_cancelled_execution(tmp_path: Path) -> None:
    """Neither while it ends nor while it waits for its next attempt."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"retries": 3, "retry_errors": True, "backoff": 0.1})
        first = await begun(w)
        await w.supervisor.cancel(first.fid, grace_s=5)
        w.runner_of(first.fid).die()
        await w.until(first.fid, Status.CANCELLED)
        second = await begun(w)
        w.runner_of(second.fid).die()
        await w.until(second.fid, Status.QUEUED)
        await w.supervisor.cancel(second.fid, grace_s=5)
        await w.until(second.fid, Status.CANCELLED)
        assert w.supervisor.load.waiting.total() == 0
        await asyncio.sleep(0.15)
        assert not w.supervisor._pool_of, "nothing is kept of it"

    world(tmp_path, body)


def test_retries_survive_a_restart(tmp_path: Path) -> None:
    """A waiting one waits on; one whose runner died meanwhile is retried."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"retries": 1, "backoff": 0.2})
        waits, lost = await begun(w), await begun(w)
        w.runner_of(waits.fid).die()
        queued = await w.until(waits.fid, Status.QUEUED)
        w.restart()
        await w.supervisor.recover({})
        w.ends = True
        for execution in (waits, lost):
            ended = await w.until(execution.fid, Status.FINISHED)
            assert ended.attempt == 2
        assert queued.not_before is not None
        assert (await w.store.executions.get(waits.fid)).not_before is None

    world(tmp_path, body)


def test_a_runner_that_dies_after_its_attempt_ends_nothing(tmp_path: Path) -> None:
    """The attempt is over, so its death does not affect the next one."""

    async def body(w: World) -> None:
        w.ends = False
        await w.live(limits={"retries": 1, "retry_errors": True, "backoff": 30})
        execution = await begun(w)
        runner = w.runner_of(execution.fid)
        await runner.report(execution.fid, Status.ERROR)
        assert not await w.store.executions.lose(
            execution.fid, runner.spec.id, FailureEvent(type="RunnerDied", message="m")
        )
        now = await w.store.executions.get(execution.fid)
        assert (now.status, now.attempt) == (Status.QUEUED, 2)

    world(tmp_path, body)


def test_each_pause_is_twice_as_long() -> None:
    """Up to an hour, however many there are."""
    policy = Policy(backoff_s=3)
    assert [policy.pause_s(attempt) for attempt in (1, 2, 3)] == [3, 6, 12]
    assert policy.pause_s(99) == 3600
