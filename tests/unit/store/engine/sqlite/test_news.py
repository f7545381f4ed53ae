"""What changes tell: once they are committed, and before their callers go on."""

import asyncio
import logging
from pathlib import Path

import pytest

from koco.errors import NotFoundError
from koco.store.engine.protocol import Connection
from koco.store.store import Store
from tests.support.stores import opened


async def tell(store: Store, *words: str, fails: bool = False) -> None:
    def change(db: Connection) -> None:
        db.news.extend(words)
        if fails:
            raise NotFoundError("it failed")

    await store.engine.write(change)


def test_tells_the_news_of_committed_changes_in_order(tmp_path: Path) -> None:
    """Those of a change that failed are not told."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
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
            await tell(store, "e")
            assert heard[-1] == "e"  # told before the caller goes on

    asyncio.run(main())


def test_a_listener_that_fails_breaks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The changes are committed, and the log says what went wrong."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:

            def fail(_: list[str]) -> None:
                raise RuntimeError("no")

            store.engine.on_news = fail
            await tell(store, "a")

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "news" in caplog.text
