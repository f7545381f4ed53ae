"""Several processes that write at the same time leave what one would have left."""

import asyncio
from pathlib import Path

import psycopg

from koco.store.model import Change
from tests.support import postgres
from tests.support.member_storm import rage
from tests.support.members import Member, processes, sharing, until, url_for
from tests.support.store_checks import problems
from tests.support.stores import launch

NAMES = ("one", "two", "three")


def test_a_key_is_launched_once_whoever_takes_it(tmp_path: Path) -> None:
    """Three processes get the same executions for the same keys."""
    url = url_for(tmp_path)
    with processes(url, *NAMES) as found:
        for each in found:
            each.tell("hurry", "ada", 40)
        made = [each.hear().split()[1:] for each in found]
    assert made[0] == made[1] == made[2]
    assert len(set(made[0])) == 40
    with psycopg.connect(url) as db:
        assert db.execute("SELECT count(*) FROM koco.executions").fetchone() == (40,)
    assert problems(url) == []


def test_whole_lives_in_three_processes_leave_a_consistent_store(tmp_path: Path) -> None:
    """Ids, tallies, streams and the feed of changes are right, and a follower misses nothing."""
    url = url_for(tmp_path)

    async def main() -> None:
        with processes(url, *NAMES) as found:
            async with sharing(url, "here") as (here,):
                await here.lead()
                for name, each in zip(NAMES, found, strict=True):
                    each.tell("live", name, 60, 6)
                done = [asyncio.create_task(asyncio.to_thread(each.hear)) for each in found]
                seen: dict[str, Change] = {}
                cursor: str | None = None
                while True:
                    is_over = all(each.done() for each in done)
                    page = await here.store.changes.page(cursor=cursor, limit=1000)
                    seen |= {each.fid: each for each in page.items}
                    cursor = page.next
                    if is_over and page.is_last:
                        break
                    await asyncio.sleep(0.001)
                await here.store.engine.write(lambda db: None)
                statuses = {each.execution.status for each in seen.values() if each.execution}
                assert len(seen) == 180
                assert statuses == {"finished"}
                await until(lambda: here.touched >= set(seen))
                assert [each.key for each in here.news if each.topic != "launched"] == []
                assert await here.store.executions.count_by_status() == {"finished": 180}

    asyncio.run(main())
    assert problems(url) == []


def test_who_listens_misses_nothing_although_its_connection_is_lost(tmp_path: Path) -> None:
    """It looks everything up when it listens again."""
    url = url_for(tmp_path)
    listening = (
        "SELECT pg_terminate_backend(backend) FROM koco.members WHERE name = 'listener'"
        " AND backend IN (SELECT pid FROM pg_stat_activity)"
    )

    async def main() -> None:
        async with sharing(url, "a", "b", "listener") as (a, b, listener):
            known: set[str] = set()
            looks: list[asyncio.Task[None]] = []

            async def look() -> None:
                page = await listener.store.executions.page(limit=10_000)
                known.update(each.fid for each in page.items)

            listener.store.engine.on_touched = known.update
            listener.store.engine.on_gap = lambda: looks.append(asyncio.create_task(look()))
            made: list[str] = []

            async def write(member: Member) -> None:
                while len(made) < 400:
                    made.append((await launch(member.store)).fid)

            async def cut() -> None:
                with psycopg.connect(url, autocommit=True) as db:
                    while len(made) < 400:
                        db.execute(listening)
                        await asyncio.sleep(0.05)

            await asyncio.gather(write(a), write(b), cut())
            await until(lambda: known >= set(made))
            assert looks
            await asyncio.gather(*looks)

    asyncio.run(main())


def test_nothing_is_lost_or_wrong_after_a_storm() -> None:
    """Processes are killed and stopped, sessions and the server end, all at random."""
    server = postgres.Server()
    try:
        server.execute("CREATE DATABASE own")
        outcome = rage(server, "own", for_s=10, seed=1)
    finally:
        server.remove()
    assert outcome.problems == []
    assert {"finished", "queued"} <= set(outcome.accepted.values())
    assert len(set(outcome.harm)) > 1


def test_the_checks_find_what_is_wrong(tmp_path: Path) -> None:
    """Each kind of damage that writers at odds would do."""
    url = url_for(tmp_path)

    async def main() -> None:
        async with sharing(url, "a") as (a,):
            for _ in range(3):
                await launch(a.store)

    asyncio.run(main())
    assert problems(url) == []
    damage = {
        "UPDATE tallies SET count = count + 1": "tallies",
        "UPDATE executions SET last_seq = last_seq + 1 WHERE id = 2": "events",
        "UPDATE executions SET id = 7 WHERE id = 3": "ids",
        "DELETE FROM changes WHERE execution = 1": "changes",
    }
    for statement, what in damage.items():
        with psycopg.connect(url) as db:
            db.execute("SET LOCAL session_replication_role TO replica")
            db.execute("SET LOCAL search_path TO koco")
            db.execute(statement)  # type: ignore[call-overload]
        assert any(what in each for each in problems(url)), statement
