"""A database that several processes share: who leads, what they hear of each other."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from koco.errors import ConflictError, UsageError
from koco.store import transfer
from koco.store.engine.postgres import engine, rights
from koco.store.errors import DeposedError
from koco.store.model import News, Topic
from koco.store.store import Store
from tests.support.members import sharing, until, url_for
from tests.support.stores import batch, begun, events, launch


def test_each_writes_what_the_others_read(tmp_path: Path) -> None:
    """Nobody needs to lead for that."""

    async def main() -> None:
        async with sharing(url_for(tmp_path), "a", "b") as (a, b):
            made = await asyncio.gather(*(launch(each.store) for each in (a, b, a, b)))
            assert sorted(each.id for each in made) == [1, 2, 3, 4]
            page = await b.store.executions.page()
            assert {each.fid for each in page.items} == {each.fid for each in made}
            assert await a.store.executions.count_by_status() == {"queued": 4}
            assert a.store.engine.is_shared

    asyncio.run(main())


def test_one_leads_until_it_closes_and_then_the_next(tmp_path: Path) -> None:
    """Each with an epoch of its own, which grows."""

    async def main() -> None:
        url = url_for(tmp_path)
        async with sharing(url, "b", "c") as (b, c):
            assert await b.store.engine.leader() is None
            async with sharing(url, "a") as (a,):
                first = await a.lead()
                assert await a.lead() == first
                second = asyncio.create_task(b.lead())
                await asyncio.sleep(0.3)
                assert not second.done()
                found = await c.store.engine.leader()
                assert found is not None
                assert (found.epoch, found.member) == (first, "a")
                assert found.url.startswith("http://")
                assert 0 <= found.age_s < 3
            epoch = await asyncio.wait_for(second, 2)
            assert epoch > first
            found = await c.store.engine.leader()
            assert found is not None
            assert (found.epoch, found.member) == (epoch, "b")

    asyncio.run(main())


def test_a_wait_for_the_lead_may_be_cancelled(tmp_path: Path) -> None:
    """It leaves the queue, so that it does not get the lead later."""

    async def main() -> None:
        async with sharing(url_for(tmp_path), "a", "b", "c") as (a, b, c):
            await a.lead()
            given_up, kept = asyncio.create_task(b.lead()), asyncio.create_task(c.lead())
            await asyncio.sleep(0.2)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            await launch(b.store)
            a.store.engine._claim.close()  # type: ignore[attr-defined]
            assert await asyncio.wait_for(kept, 2)

    asyncio.run(main())


def test_others_hear_of_each_change(tmp_path: Path) -> None:
    """Its news, and the executions that it touched. Nobody hears of their own changes twice."""

    async def main() -> None:
        async with sharing(url_for(tmp_path), "a", "b", "c") as (a, b, c):
            await a.lead()
            by_leader = await begun(a.store)
            by_member = await launch(b.store)
            fids = {by_leader.fid, by_member.fid}
            await until(lambda: fids <= c.touched)
            await until(lambda: by_member.fid in a.touched)
            assert by_member.fid not in b.touched
            assert by_leader.fid not in a.touched
            launched = News(Topic.LAUNCHED, by_member.fid)
            assert a.news == b.news == c.news == [launched]
            c.touched.clear()
            await a.store.events.append([batch(by_leader.fid, 1, "x", runner="r1", producer="q")])
            await until(lambda: c.touched == {by_leader.fid})
            assert len(await events(c.store, by_leader)) > 3
            assert not a.gaps + b.gaps + c.gaps

    asyncio.run(main())


def test_more_than_a_notification_holds_is_a_gap(tmp_path: Path) -> None:
    """So others look everything up again."""

    async def main() -> None:
        async with sharing(url_for(tmp_path), "a", "b") as (a, b):
            await asyncio.gather(*(launch(a.store) for _ in range(600)))
            await until(lambda: b.gaps)
            assert not a.gaps

    asyncio.run(main())


def test_keeps_a_control_plane_out_that_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is kept out by one, whether or not somebody leads."""
    monkeypatch.setattr(engine, "_LOCK_PATIENCE_S", 0.1)
    monkeypatch.setattr(rights, "_PATIENCE_S", 0.1)
    url = url_for(tmp_path)

    async def main() -> None:
        alone = Store.at(url)
        async with sharing(url, "a") as (a,):
            for leads in (False, True):
                if leads:
                    await a.lead()
                assert alone.engine.is_open()
                with pytest.raises(ConflictError, match="another control plane has"):
                    await alone.open()
        # The server notices it a moment later.
        await until(lambda: not alone.engine.is_open())
        await alone.open()
        with pytest.raises(ConflictError, match="another control plane has"):
            await Store.at(url, "a").open()
        assert await alone.engine.lead() > 0
        assert (await alone.engine.leader(), await alone.engine.members()) == (None, [])
        await alone.close()

    asyncio.run(main())


def test_lists_the_members_that_are_connected(tmp_path: Path) -> None:
    """With what they have announced."""

    async def main() -> None:
        async with sharing(url_for(tmp_path), "a", "b") as (a, b):
            await b.store.engine.announce(url="http://b", node="n2")
            one, two = await a.store.engine.members()
            assert (one.name, one.url, two.name, two.url, two.node) == (
                "a",
                "",
                "b",
                "http://b",
                "n2",
            )
            assert one.pid == two.pid > 0
            assert one.started.endswith("Z")
            async with sharing(url_for(tmp_path), "c"):
                assert [each.name for each in await b.store.engine.members()] == ["a", "b", "c"]
            async with asyncio.timeout(2):  # the server notices it a moment later
                while len(await b.store.engine.members()) > 2:
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_leader_whose_lock_was_taken_writes_nothing(tmp_path: Path) -> None:
    """It hears so once, and keeps its connections for looks."""
    url = url_for(tmp_path)

    async def main() -> None:
        async with sharing(url, "a", "b") as (a, b):
            await a.lead()
            kept = await launch(a.store)
            next_one = asyncio.create_task(b.lead())
            await asyncio.sleep(0.3)
            with psycopg.connect(url, autocommit=True) as db:
                db.execute("SELECT pg_terminate_backend(backend) FROM koco.leader")
            await asyncio.wait_for(next_one, 1)
            for _ in range(2):
                with pytest.raises(DeposedError, match="no longer leads") as caught:
                    await launch(a.store)
                assert caught.value.hint
            await until(lambda: a.falls)
            with pytest.raises(DeposedError):
                await a.lead()
            await launch(b.store)
            assert await a.store.executions.get(kept.fid) == kept
            assert await a.store.executions.count_by_status() == {"queued": 2}
            assert (a.falls, b.falls) == (1, 0)

    asyncio.run(main())


def test_each_transaction_of_a_leader_checks_its_epoch(tmp_path: Path) -> None:
    """Even if its connection still has the lock."""
    url = url_for(tmp_path)

    async def main() -> None:
        async with sharing(url, "a") as (a,):
            await a.lead()
            await launch(a.store)
            with psycopg.connect(url, autocommit=True) as db:
                db.execute("UPDATE koco.store SET opened = opened + 1")
            with pytest.raises(DeposedError):
                await launch(a.store)
            await until(lambda: a.falls)
            assert await a.store.executions.count_by_status() == {"queued": 1}

    asyncio.run(main())


def test_nobody_writes_to_tables_of_a_newer_koco(tmp_path: Path) -> None:
    """One that was started meanwhile has migrated them."""
    url = url_for(tmp_path)

    async def main() -> None:
        async with sharing(url, "a") as (a,):
            with psycopg.connect(url, autocommit=True) as db:
                db.execute("UPDATE koco.store SET version = 9999")
            with pytest.raises(ConflictError, match="9999"):
                await launch(a.store)
            with pytest.raises(ConflictError, match="9999"):
                await a.lead()

    asyncio.run(main())


def test_a_shared_database_can_be_backed_up_while_it_is_used(tmp_path: Path) -> None:
    """A copy has nothing of its processes, and neither has one into another store."""

    async def main() -> None:
        async with sharing(url_for(tmp_path), "a", "b") as (a, b):
            await a.lead()
            made = await launch(b.store)
            await b.store.copy(tmp_path / "copy.db")
        copied = Store.at(tmp_path / "copy.db")
        await copied.open()
        assert await copied.executions.get(made.fid) == made
        await copied.close()
        source, target = Store.at(url_for(tmp_path)), Store.at(tmp_path / "other.db")
        counts = await transfer.between(source.engine, target.engine)
        assert counts["executions"] == 1
        assert not {"leader", "members"} & set(counts)

    asyncio.run(main())


def test_a_file_cannot_be_shared(tmp_path: Path) -> None:
    """The error says what can."""
    with pytest.raises(UsageError, match="only one process") as caught:
        Store.at(tmp_path / "store.db", "a")
    assert "postgresql://" in (caught.value.hint or "")
