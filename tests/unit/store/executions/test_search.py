"""Full text search."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koco.errors import (
    TimedOutError,
    UsageError,
)
from koco.events.model import Kind, Status
from koco.store.engine.postgres import search as vectors
from koco.store.engine.protocol import Connection
from koco.store.engine.sqlite import readers
from koco.store.engine.sqlite.search import TextIndex
from koco.store.errors import NoSearchError
from koco.store.executions import listing, search
from koco.store.model import EVERYTHING, Filter
from koco.store.store import Store
from tests.support.stores import (
    Check,
    batch,
    begun,
    ended,
    fids,
    opened,
)
from tests.unit.conftest import examples


def test_finds_words_in_inputs_results_and_errors(check: Callable[[Check], None]) -> None:
    """All of the given ones; phrases, prefixes, numbers and names; without accents or case."""

    async def body(store: Store) -> None:
        one = await ended(
            store, inputs={"topic": "Crème brûlée", "n": 4711}, result={"a": ["x-ray"]}
        )
        error = {"type": "ValueError", "message": "no such customer"}
        two = await ended(store, inputs={"topic": "line one\nline two"}, error=error)
        assert await fids(store, search="creme 4711") == [one.fid]
        assert await fids(store, search="topic") == [two.fid, one.fid]
        assert await fids(store, search="x-ray BRULEE") == [one.fid]
        assert await fids(store, search='"such customer"') == [two.fid]
        assert await fids(store, search='"customer such"') == []
        assert await fids(store, search="custom*") == [two.fid]
        assert await fids(store, search="custom") == []
        assert await fids(store, search="valueerror two") == [two.fid]
        assert await fids(store, search="creme customer") == []

    check(body)


def test_does_not_find_hidden_values(check: Callable[[Check], None]) -> None:
    """They are not in the index."""

    async def body(store: Store) -> None:
        inputs = {"who": "ada", "password": "hunter2"}
        mine = await ended(store, inputs=inputs, hidden=("password",))
        assert await fids(store, search="ada") == [mine.fid]
        assert await fids(store, search="hunter2") == []
        assert await fids(store, search="hunt*") == []

    check(body)


@given(text=st.text(max_size=20))
@settings(max_examples=examples(60))
def test_any_text_is_a_valid_search_or_is_refused(text: str) -> None:
    """No text is an error of the index. One without words is refused."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE search USING fts5 (text)")
    for typed in (text, f'"{text}', f"{text}*", f"a {text} NEAR(", f"text:{text}"):
        try:
            match = TextIndex().match(search.parse(typed))
        except UsageError:
            continue
        db.execute("SELECT rowid FROM search WHERE search MATCH ?", (match,)).fetchall()
    db.close()


def test_ends_a_search_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait for it. The hint says how to make it quicker."""
    monkeypatch.setattr(search, "MOST_S", 0.001)
    monkeypatch.setattr(readers, "_STEPS", 100)

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            mine = await ended(store)
            dice = random.Random(1)

            def fill(db: sqlite3.Connection) -> None:
                words = [
                    "".join(dice.choices("abcdefghij", k=dice.randint(2, 8))) for _ in range(20_000)
                ]
                db.executemany(
                    "INSERT INTO search (text) VALUES (?)",
                    ((" ".join(dice.choices(words, k=60)),) for _ in range(5000)),
                )

            await store.engine.write(fill)
            with pytest.raises(TimedOutError, match=r"takes more than 0\.001 s to find") as caught:
                await store.executions.page(
                    Filter(search=" ".join(f"{c}*" for c in "abcdefghij" * 3))
                )
            assert "longer words" in (caught.value.hint or "")
            monkeypatch.undo()
            assert await fids(store, search="done") == [mine.fid]

    asyncio.run(main())
    with pytest.raises(UsageError, match="32 words and phrases at most"):
        search.parse("a " * 33)


def test_refuses_only_searches_if_there_is_no_index(tmp_path: Path) -> None:
    """As with a Python whose SQLite has no FTS5."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            mine = await ended(store)
            await store.engine.write(lambda db: db.execute("DROP TABLE search"))
            with pytest.raises(NoSearchError, match="FTS5"):
                await store.executions.page(Filter(search="done"))
            assert await fids(store, user="") == [mine.fid]
            assert not await store.executions.index()
            await store.executions.delete(mine.fid)

    asyncio.run(main())


#: Ids that are near and far from each other, so that a search goes back in steps.
SPREAD = (1, 2, 16_383, 16_384, 700_000, 700_001, 1_048_576, 9_000_000, 9_000_001)


async def spread(store: Store) -> list[str]:
    """Make executions with such ids; return their fids, the newest first."""
    made = [await ended(store, inputs={"topic": f"report {number}"}) for number in SPREAD]
    while await store.executions.index():
        pass

    def move(db: Connection) -> None:
        for each, number in zip(reversed(made), reversed(SPREAD), strict=True):
            db.dialect.search.remove(db, each.id)
            values = {"new": number, "old": each.id}
            db.execute("DELETE FROM chunks WHERE execution = :old", {"old": each.id})
            db.execute("UPDATE executions SET id = :new WHERE id = :old", values)
            db.execute("UPDATE changes SET execution = :new WHERE execution = :old", values)
            db.dialect.search.put(db, [(number, f"report {number}")])

    await store.engine.write(move)
    return [each.fid for each in reversed(made)]


def test_finds_the_newest_first_however_far_back_they_are(check: Callable[[Check], None]) -> None:
    """In pages of any size, also a single old one."""

    async def body(store: Store) -> None:
        expected = await spread(store)
        for limit in (1, 2, 4, 50):
            found: list[str] = []
            cursor: str | None = None
            while True:
                page = await store.executions.page(
                    Filter(search="report"), limit=limit, cursor=cursor
                )
                found += [each.fid for each in page.items]
                if (cursor := page.next) is None:
                    break
            assert found == expected
        for number, fid in zip(SPREAD, reversed(expected), strict=True):
            assert await fids(store, search=f"report {number}") == [fid]
        assert await fids(store, search="report none") == []

    check(body)


def test_a_search_that_takes_long_ends_with_a_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's goes back step by step, and its pages go on where the last one ended."""
    monkeypatch.setattr(vectors, "_ALL_S", -1.0)

    async def main() -> None:
        async with opened("postgresql", tmp_path) as store:
            expected = await spread(store)
            cursor, found, pages = None, [], 0
            while pages == 0 or cursor is not None:
                page = listing.page(
                    store.engine._writer._lasting.db,
                    Filter(search="report"),
                    sight=EVERYTHING,
                    limit=50,
                    cursor=cursor,
                    budget_s=-1.0,
                )
                found += [each.fid for each in page.items]
                cursor, pages = page.next, pages + 1
            assert found == expected
            assert pages > 3

    asyncio.run(main())


def test_a_slow_indexer_does_not_hide_what_another_one_has_indexed(
    check: Callable[[Check], None],
) -> None:
    """Several processes of a shared store may index at the same time."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        slow = await store.engine.scan(search.gather)
        assert slow is not None
        end = batch(execution.fid, 1, "first", runner="r1", status=Status.FINISHED, kind=Kind.FINAL)
        await store.events.append([end])
        while await store.executions.index():
            pass
        await ended(store, result="second")
        other = await store.engine.scan(search.gather)
        assert other is not None
        for piece in (slow, other):
            await store.engine.write(lambda db, piece=piece: search.enter(db, piece))
        later = await store.engine.scan(search.gather)
        assert later is None
        assert await fids(store, search="first")
        assert await fids(store, search="second")

    check(body)
