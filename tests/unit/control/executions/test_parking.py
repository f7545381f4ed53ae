"""Durable executions in the supervisor: resumed, parked, woken; over a real store, without Ray."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from koco.cluster.serve import name_of
from koco.cluster.serve_comparison import REMOVED
from koco.control.deploy import serve_apps
from koco.control.deploy.serve_apps import Applications
from koco.control.executions.waiting.alarm import Alarm
from koco.control.services.catalog import Catalog
from koco.errors import ConflictError, TooManyError
from koco.events.model import Status
from koco.manifest.descriptions import AppHandlers
from koco.sizes import MB
from koco.store.model import Answer, Release, ReleaseFailure
from tests.support.durable_plane import Durable
from tests.support.pools import eventually, over_store

Body = Callable[[Durable], Awaitable[None]]


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Body], None]:
    return lambda body: over_store(tmp_path, lambda store: body(Durable(store)))


def test_resumes_after_the_death_of_its_runner(check: Callable[[Body], None]) -> None:
    """On another runner, which hears that there is a past; the first time there is none."""

    async def body(w: Durable) -> None:
        launches = w.orders
        await w.durable(min=2)
        w.settings.park_after, w.settings.max_step_mb = 7, 2
        execution = await w.running()
        first = w.runner_of(execution.fid)
        first.die("struck by lightning")
        await eventually(lambda: len(launches) == 2)
        now = await w.until(execution.fid, Status.RUNNING)
        assert (now.resumed, now.attempt) == (1, 2)
        assert w.runner_of(execution.fid) is not first
        assert [each.has_past for each in launches] == [False, True]
        assert {(each.durable, each.park_after_s, each.step_bytes) for each in launches} == {
            (True, 7, 2 * MB)
        }

    check(body)


def test_a_parked_execution_leaves_nothing_here(check: Callable[[Body], None]) -> None:
    """Its place is free, it counts neither as running nor as waiting, and no request waits."""

    async def body(w: Durable) -> None:
        release = await w.durable(max=1, limits={"running": 1, "queue": 0})
        execution = await w.running()
        await w.sleeps(execution, due=4e9)

        async def wait() -> None:
            with w.waiters.waiting(execution.fid, "sleep:0") as waiter:
                while True:
                    await waiter.until_woken()

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        assert await w.park(execution, "sleep:0")
        with pytest.raises(ConflictError, match="no longer belongs"):
            await waiting
        assert w.waiters.count == 0
        assert execution.fid not in w.supervisor.load
        assert not w.supervisor.pool(release).has_work
        now = await w.store.executions.get(execution.fid)
        assert (now.status, now.parked, now.runner) == (Status.SLEEPING, True, "")
        await w.running()  # in its place: at most one runs, and none may wait

    check(body)


def test_a_wait_that_ends_wakes_it(check: Callable[[Body], None]) -> None:
    """However full the queue is."""

    async def body(w: Durable) -> None:
        await w.durable(max=1, limits={"queue": 0})
        parked = await w.parked(due=time.time() + 0.2)
        other = await w.running()
        with pytest.raises(TooManyError):
            await w.launch()
        await asyncio.sleep(0.2)
        await w.store.steps.expire(time.time())
        assert (await w.until(parked.fid, Status.QUEUED)).parked is False
        await eventually(lambda: parked.fid in w.supervisor.load)
        await w.runner_of(other.fid).report(other.fid, Status.FINISHED, count=1)
        assert (await w.until(parked.fid, Status.RUNNING)).resumed == 1

    check(body)


def test_a_wait_that_ends_while_it_is_parked_wakes_it_once(check: Callable[[Body], None]) -> None:
    """Whether the news comes before the answer to the runner or after it."""

    async def body(w: Durable) -> None:
        await w.durable(min=2)
        for _ in range(20):
            execution = await w.running()
            await w.sleeps(execution, due=time.time())
            parking = asyncio.ensure_future(w.park(execution, "sleep:0"))
            await w.store.steps.expire(time.time() + 1)
            assert await parking
            now = await w.until(execution.fid, Status.RUNNING)
            assert now.resumed == 1
            assert sum(execution.fid in runner.fids for runner in w.runners) == 1
            await w.runner_of(execution.fid).report(execution.fid, Status.FINISHED, count=1)
        assert w.supervisor.load.running.total() == w.supervisor.load.waiting.total() == 0

    check(body)


def test_an_answer_wakes_it(check: Callable[[Body], None]) -> None:
    """A lock's answer, while another release is live: it runs on its own release."""

    async def body(w: Durable) -> None:
        former = await w.durable()
        execution = await w.running()
        await w.asks(execution)
        assert await w.supervisor.park(execution, keys=[], lids=["lid"])
        assert (await w.store.executions.get(execution.fid)).status is Status.AWAITING
        await w.durable()
        pools = w.supervisor.pools
        await eventually(lambda: pools["svc", former.number].is_over)
        del pools["svc", former.number]  # as the supervisor does after a while
        await w.store.locks.answer("lid", Answer(value=1), by="ada")
        now = await w.until(execution.fid, Status.RUNNING)
        assert now.release == former.number
        assert w.runner_of(execution.fid).spec.release == former.number

    check(body)


def test_a_parked_execution_is_cancelled_at_once(check: Callable[[Body], None]) -> None:
    """Alone, and with all executions of its service."""

    async def body(w: Durable) -> None:
        await w.durable()
        one, other = await w.parked(), await w.parked()
        assert (await w.supervisor.cancel(one.fid, grace_s=5)).status is Status.CANCELLED
        await w.supervisor.cancel_all("svc", grace_s=5)
        await w.until(other.fid, Status.CANCELLED)

    check(body)


def test_an_undeploy_names_parked_executions(check: Callable[[Body], None]) -> None:
    """It is refused, as for running ones; they keep the code of their release."""

    async def body(w: Durable) -> None:
        former = await w.durable(max=10)
        made = [await w.parked() for _ in range(6)]
        with pytest.raises(ConflictError) as caught:
            await w.store.releases.undeploy("svc", ReleaseFailure(message=""), beside_running=False)
        assert "6 executions have not ended (6 sleeping)" in caught.value.message
        assert sum(each.fid in caught.value.message for each in made) == 5
        assert caught.value.message.endswith(", more")
        await w.durable()
        uploads = w.store.uploads
        assert await uploads.find_unused([former.bundle], before="9", keep_releases=1) == []
        for each in made:
            await w.supervisor.cancel(each.fid, grace_s=0)
        assert await uploads.find_unused([former.bundle], before="9", keep_releases=1)

    check(body)


def test_a_restart_does_not_load_parked_executions(check: Callable[[Body], None]) -> None:
    """Those that were woken and had not begun are in line again."""

    async def body(w: Durable) -> None:
        release = await w.durable(max=1)
        asleep, woken = await w.parked(), await w.parked()
        w.store.listen(lambda news: None)
        await w.store.steps.withdraw(woken.fid, "sleep:0")
        w.restart()
        await w.supervisor.recover({("svc", release.number, r.spec.id): r for r in w.runners})
        assert asleep.fid not in w.supervisor.load
        assert woken.fid in w.supervisor.load
        await w.until(woken.fid, Status.RUNNING)

    check(body)


def test_a_restart_ends_parked_executions_that_were_to_end(check: Callable[[Body], None]) -> None:
    """If the former process died between the undeploy and their end."""

    async def body(w: Durable) -> None:
        await w.durable()
        parked = await w.parked()
        assert await w.store.executions.request_cancels("svc", grace_s=5) == []
        w.restart()
        await w.supervisor.recover({})
        await w.until(parked.fid, Status.CANCELLED)

    check(body)


def test_the_alarm_rings_for_the_earliest() -> None:
    """It goes on with the next one, and tries again if the store fails."""
    rung: list[float] = []
    due: list[float] = []

    async def settle() -> float | None:
        rung.append(time.time())
        if len(rung) == 1:
            return due.pop()
        return None

    async def body() -> None:
        alarm = Alarm("tests", settle)
        now = time.time()
        due.append(now + 0.1)
        alarm.set(now + 5)
        alarm.set(now + 0.05)
        await asyncio.sleep(0.3)
        assert len(rung) == 2
        assert rung[0] >= now + 0.05
        assert rung[1] >= now + 0.1

    asyncio.run(body())


def test_the_endpoint_comes_back_while_a_parked_execution_awaits_somebody(
    check: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new head has no applications; that of a retired release is needed to answer its locks."""
    monkeypatch.setattr(serve_apps, "_SWEEP_S", 0.01)
    monkeypatch.setattr(serve_apps, "_HEAL_S", 0.01)
    brought: list[str] = []

    async def nothing(*_: Any) -> None:
        """Do nothing."""

    async def drift(wanted: dict[str, Any]) -> dict[str, str]:
        return dict.fromkeys(wanted, REMOVED)

    async def bring_up(application: Any, *, is_wanted: Callable[[], bool]) -> bool:
        if is_wanted():
            brought.append(application.name)
        return True

    async def make(release: Release) -> Any:
        name = name_of(release.service, release.number)
        return SimpleNamespace(name=name, config=dict)

    async def body(w: Durable) -> None:
        release = await w.durable(app=AppHandlers(locks=("ok",)))
        execution = await w.running()
        await w.asks(execution)
        await w.supervisor.park(execution, keys=[], lids=["lid"])
        await w.durable()
        w.supervisor.pools.pop(("svc", release.number), None)
        serve: Any = SimpleNamespace(
            look=nothing, sweep=nothing, messages={}, drift=drift, bring_up=bring_up
        )
        applications = Applications(
            serve, w.store, supervisor=w.supervisor, catalog=Catalog(), make=make
        )
        running = [asyncio.create_task(each()) for each in (applications.sweep, applications.heal)]
        await eventually(lambda: name_of("svc", release.number) in brought)
        await w.store.executions.request_cancel(execution.fid, grace_s=0)
        await asyncio.sleep(0.1)
        brought.clear()
        await asyncio.sleep(0.1)
        assert brought == []
        assert len(running) == 2

    check(body)


def test_the_endpoint_stays_while_a_parked_execution_awaits_somebody(
    check: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its release's own code answers the lock, though the release has no runners any more."""
    monkeypatch.setattr(serve_apps, "_SWEEP_S", 0.01)
    monkeypatch.setattr(serve_apps, "_STAY_S", 0.02)
    needed: list[bool] = []

    async def look() -> None:
        """Ask Serve for nothing."""

    async def sweep(is_needed: Callable[[str], bool]) -> None:
        needed.append(is_needed(name_of("svc", 1)))

    async def body(w: Durable) -> None:
        release = await w.durable(app=AppHandlers(locks=("ok",)))
        execution = await w.running()
        await w.asks(execution)
        serve: Any = SimpleNamespace(look=look, sweep=sweep, messages={})
        applications = Applications(
            serve, w.store, supervisor=w.supervisor, catalog=Catalog(), make=serve
        )
        asyncio.create_task(applications.sweep())  # noqa: RUF006 - ended with the test
        assert await w.supervisor.park(execution, keys=[], lids=["lid"])
        del w.supervisor.pools["svc", release.number]
        await asyncio.sleep(0.1)
        assert needed[-1]
        await w.store.executions.request_cancel(execution.fid, grace_s=0)
        await eventually(lambda: not needed[-1])

    check(body)
