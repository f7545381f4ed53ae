"""Changes that share a commit: each fails alone, and what they tell is told once they are in."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from koco.errors import NotFoundError
from koco.store.engine.protocol import Connection
from koco.store.store import Store
from tests.support.stores import Check, launch


async def tell(store: Store, *words: str, fails: bool = False) -> None:
    def change(db: Connection) -> None:
        db.news.extend(words)
        if fails:
            raise NotFoundError("it failed")

    await store.engine.write(change)


def test_tells_the_news_of_committed_changes_in_order(check: Callable[[Check], None]) -> None:
    """Those of a change that failed are not told."""

    async def body(store: Store) -> None:
        heard: list[str] = []
        store.engine.on_news = heard.extend
        results = await asyncio.gather(
            tell(store, "a", "b"),
            tell(store, "c", fails=True),
            tell(store, "d"),
            return_exceptions=True,
        )
        assert isinstance(results[1], NotFoundError)
        assert heard == ["a", "b", "d"]
        with pytest.raises(NotFoundError):
            await tell(store, "alone", fails=True)
        await tell(store, "e")
        assert heard == ["a", "b", "d", "e"]  # told before the caller goes on

    check(body)


def test_a_listener_that_fails_breaks_nothing(
    check: Callable[[Check], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The changes are committed, and the log says what went wrong."""

    async def body(store: Store) -> None:
        def fail(_: list[str]) -> None:
            raise RuntimeError("no")

        store.engine.on_news = fail
        await tell(store, "a")

    with caplog.at_level(logging.ERROR):
        check(body)
    assert "news" in caplog.text


def test_a_failing_change_does_not_affect_the_others_in_its_transaction(
    check: Callable[[Check], None],
) -> None:
    """Whether it is refused, or the database refuses a statement of it."""

    async def body(store: Store) -> None:
        def twice(db: Connection) -> None:
            for _ in range(2):
                db.execute("INSERT INTO secrets (name, value) VALUES ('n', :value)", {"value": b""})

        made = await asyncio.gather(
            launch(store),
            store.executions.request_cancel("nosuchfid", grace_s=0),
            launch(store),
            store.engine.write(twice),
            launch(store),
            return_exceptions=True,
        )
        assert isinstance(made[1], NotFoundError)
        assert "unique" in str(made[3]).lower()
        assert await store.executions.count_by_status() == {"queued": 3}
        with pytest.raises(Exception, match=r"(?i)unique"):
            await store.engine.write(twice)
        assert await store.secrets.own("n") != b"", "nothing of the two was left"

    check(body)
