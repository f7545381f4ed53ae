"""A leader that dies or stands still: another process leads in time, and the old one is fenced."""

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import psycopg
import pytest

from koco.store.engine.protocol import Connection
from koco.store.errors import DeposedError
from tests.support import postgres
from tests.support.cut_wire import wire_to
from tests.support.members import Process, processes, sharing, until, url_for
from tests.support.stores import launch


async def time_of_failover(url: str, old: Process, how: signal.Signals) -> float:
    """Return how long it takes until this process leads in place of another one (seconds)."""
    async with sharing(url, "here") as (here,):
        epoch = int(await asyncio.to_thread(old.ask, "lead"))
        leading = asyncio.create_task(here.lead())
        await asyncio.sleep(1.3)
        assert not leading.done()
        began = time.monotonic()
        old.send(how)
        assert await asyncio.wait_for(leading, 10) > epoch
        took_s = time.monotonic() - began
        await launch(here.store)
        return took_s


def users(url: str) -> list[str]:
    """Return who launched the executions that are in a store."""
    with psycopg.connect(url) as db:
        rows = db.execute('SELECT "user" FROM koco.executions ORDER BY id').fetchall()
        return [user for (user,) in rows]


def test_a_killed_leader_is_followed_at_once(tmp_path: Path) -> None:
    """The server gives its lock to whoever waits for it."""
    url = url_for(tmp_path)
    with processes(url, "old") as [old]:
        took_s = asyncio.run(time_of_failover(url, old, signal.SIGKILL))
    print(f"after SIGKILL: {took_s:.3f} s")
    assert took_s < 1


def test_a_stopped_leader_is_followed_in_time_and_writes_nothing_later(tmp_path: Path) -> None:
    """It stands still between two transactions, and goes on long after it lost the lead."""
    url = url_for(tmp_path)
    with processes(url, "old") as [old]:
        took_s = asyncio.run(time_of_failover(url, old, signal.SIGSTOP))
        print(f"after SIGSTOP: {took_s:.3f} s")
        assert took_s < 4
        old.tell("launch", "late")
        old.send(signal.SIGCONT)
        heard = {old.hear(), old.hear()}
        assert heard == {"fell", "DeposedError launch"}
        old.tell("launch", "late")
        assert old.hear() == "DeposedError launch"
        assert users(url) == [""]


def test_a_leader_that_stands_still_in_a_transaction_writes_nothing_later(tmp_path: Path) -> None:
    """Neither does it keep the others from writing for long."""
    url = url_for(tmp_path)

    async def main() -> None:
        with processes(url, "old") as [old]:
            async with sharing(url, "here") as (here,):
                await asyncio.to_thread(old.ask, "lead")
                leading = asyncio.create_task(here.lead())
                await asyncio.sleep(0.2)
                old.tell("inside", "late")
                await until(lambda: is_stopped(old.pid))
                began = time.monotonic()
                await launch(here.store)
                print(f"a launch beside it: {time.monotonic() - began:.3f} s")
                await asyncio.wait_for(leading, 10)
                took_s = time.monotonic() - began
                print(f"after SIGSTOP in a transaction: {took_s:.3f} s")
                assert took_s < 4
                await asyncio.sleep(max(0.0, 10 - took_s))
                old.send(signal.SIGCONT)
                heard = {await asyncio.to_thread(old.hear) for _ in range(2)}
                assert heard == {"fell", "DeposedError inside"}
                await launch(here.store)
                assert users(url) == ["", ""]

    asyncio.run(main())


def test_a_member_that_stands_still_in_a_transaction_does_not_depose_the_leader(
    tmp_path: Path,
) -> None:
    """The others wait for it for a moment. Its own change is made when it goes on."""
    url = url_for(tmp_path)

    async def main() -> None:
        with processes(url, "member") as [member]:
            async with sharing(url, "leader", "next") as (leader, next_one):
                epoch = await leader.lead()
                waiting = asyncio.create_task(next_one.lead())
                await asyncio.sleep(1)
                member.tell("inside", "late")
                await until(lambda: is_stopped(member.pid))
                began = time.monotonic()
                await launch(leader.store)
                print(f"a launch beside it: {time.monotonic() - began:.3f} s")
                assert time.monotonic() - began < 4
                await asyncio.sleep(4)
                assert not waiting.done()
                member.send(signal.SIGCONT)
                assert await asyncio.to_thread(member.hear) == "inside 2 runs"
                assert users(url) == ["", "late", "late"]
                found = await next_one.store.engine.leader()
                assert found is not None
                assert found.epoch == epoch
                assert not leader.falls
                waiting.cancel()

    asyncio.run(main())


def test_a_leader_that_no_longer_reaches_the_server_knows_that_it_may_not_lead(
    tmp_path: Path,
) -> None:
    """By its own clock, at about the time at which another process takes over."""
    url = url_for(tmp_path)
    port = postgres.databases().server.port

    async def main() -> None:
        with wire_to(port) as wire:
            async with (
                sharing(url.replace(f":{port}/", f":{wire.port}/"), "far") as (far,),
                sharing(url, "near") as (near,),
            ):
                await far.lead()
                leading = asyncio.create_task(near.lead())
                await asyncio.sleep(1.3)
                began = time.monotonic()
                wire.is_silent = True
                late = asyncio.create_task(launch(far.store))
                await asyncio.wait_for(leading, 10)
                print(f"after a partition: {time.monotonic() - began:.3f} s")
                assert time.monotonic() - began < 4
                await until(lambda: far.falls)
                print(f"the former leader knows: {time.monotonic() - began:.3f} s")
                assert time.monotonic() - began < 5
                wire.is_silent = False
                with pytest.raises(DeposedError):
                    await late
                await launch(near.store)
                assert await near.store.executions.count_by_status() == {"queued": 1}

    asyncio.run(main())


def test_a_leader_may_work_on_one_transaction_for_long(tmp_path: Path) -> None:
    """Its claim is renewed beside it."""

    async def main() -> None:
        async with sharing(url_for(tmp_path), "a", "b") as (a, b):
            await a.lead()
            leading = asyncio.create_task(b.lead())

            def change(db: Connection) -> None:
                for _ in range(50):
                    db.execute("UPDATE tallies SET count = count")
                    time.sleep(0.1)

            await a.store.engine.write(change)
            assert not leading.done()
            await launch(a.store)
            assert not a.falls
            leading.cancel()

    asyncio.run(main())


def test_a_leader_whose_event_loop_is_busy_leads_on(tmp_path: Path) -> None:
    """It renews its claim in a thread, for longer than the lease lasts."""
    url = url_for(tmp_path)

    async def main() -> None:
        with processes(url, "next") as [next_one]:
            async with sharing(url, "leader") as (leader,):
                epoch = await leader.lead()
                next_one.tell("lead")
                await asyncio.sleep(1.3)
                until_s = time.monotonic() + 5
                while time.monotonic() < until_s:
                    pass
                await launch(leader.store)
                await asyncio.sleep(0.5)
                assert not leader.falls
                found = await leader.store.engine.leader()
                assert found is not None
                assert (found.epoch, found.age_s < 2) == (epoch, True)

    asyncio.run(main())


def test_a_leader_whose_writer_is_blocked_leads_on(tmp_path: Path) -> None:
    """The server ends the session that stands still in a transaction; it is made again."""

    async def main() -> None:
        async with sharing(url_for(tmp_path), "leader", "next") as (leader, next_one):
            await leader.lead()
            leading = asyncio.create_task(next_one.lead())
            await asyncio.sleep(1.3)
            runs: list[float] = []

            def change(db: Connection) -> None:
                db.execute("UPDATE tallies SET count = count")
                runs.append(time.monotonic())
                if len(runs) == 1:
                    time.sleep(4)
                db.execute("UPDATE tallies SET count = count")

            await leader.store.engine.write(change)
            await launch(leader.store)
            await asyncio.sleep(1.5)
            assert len(runs) == 2
            assert not leading.done()
            assert not leader.falls
            leading.cancel()

    asyncio.run(main())


def test_a_wait_for_the_lead_keeps_no_old_rows(tmp_path: Path) -> None:
    """A statement that waits for hours would keep the server from removing any."""
    url = url_for(tmp_path)
    oldest = (
        "SELECT min(CAST(CAST(backend_xmin AS text) AS bigint)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_xmin IS NOT NULL AND query ~ 'await_lock'"
        " AND pid <> pg_backend_pid()"
    )

    async def main() -> None:
        async with sharing(url, "a", "b") as (a, b):
            await a.lead()
            waiting = asyncio.create_task(b.lead())
            await asyncio.sleep(0.3)
            with psycopg.connect(url, autocommit=True) as db:
                [before] = db.execute(oldest).fetchone() or [None]
                for _ in range(30):
                    await launch(a.store)
                    await asyncio.sleep(0.1)
                [after] = db.execute(oldest).fetchone() or [None]
            assert before is not None
            assert after is not None
            assert after > before + 10
            waiting.cancel()

    asyncio.run(main())


def test_a_leader_goes_on_after_a_restart_of_the_server(tmp_path: Path) -> None:
    """Or another process does: one of them, and only that one writes."""
    server = postgres.Server()
    try:
        server.execute("CREATE DATABASE own")
        url = server.url("own")

        async def main() -> None:
            async with sharing(url, "a") as (a,):
                epoch = await a.lead()
                await asyncio.to_thread(server.stop, signal.SIGQUIT)
                pending = asyncio.create_task(launch(a.store))
                await asyncio.sleep(4)
                await asyncio.to_thread(server.start)
                await pending
                assert await a.lead() == epoch
                assert not a.falls
                async with sharing(url, "b") as (b,):
                    leading = asyncio.create_task(b.lead())
                    await asyncio.sleep(0.3)
                    await asyncio.to_thread(server.stop, signal.SIGQUIT)
                    await asyncio.sleep(1)
                    await asyncio.to_thread(server.start)
                    await until(lambda: leading.done() or a.store.engine._writer._lasting.db)  # type: ignore[attr-defined]
                    await asyncio.sleep(2)
                    assert leading.done() == bool(a.falls)
                    leader = b if leading.done() else a
                    await launch(leader.store)
                    found = await leader.store.engine.leader()
                    assert found is not None
                    assert found.age_s < 2
                    leading.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await leading
                    assert await leader.store.executions.count_by_status() == {"queued": 2}

        asyncio.run(main())
    finally:
        server.remove()


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
