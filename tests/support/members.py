"""Processes of a shared store for tests: in this process, with what each has heard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from koco.store.model import News
from koco.store.store import Store
from tests.support import postgres


class Member:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.news: list[News] = []
        self.touched: set[str] = set()
        self.gaps = 0
        self.falls = 0
        store.listen(self.news.extend)
        store.engine.on_touched = self.touched.update
        store.engine.on_gap = self._gap
        store.engine.on_deposed = self._fall

    async def lead(self) -> int:
        return await self.store.engine.lead(url=f"http://{id(self)}")

    def _gap(self) -> None:
        self.gaps += 1

    def _fall(self) -> None:
        self.falls += 1


@asynccontextmanager
async def sharing(url: str, *names: str) -> AsyncIterator[list[Member]]:
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            store = Store.at(url, name)
            await store.open()
            stack.push_async_callback(store.close)
            found.append(Member(store))
        yield found


def url_for(place: Path) -> str:
    return postgres.databases().url(place)


async def until(is_so: Callable[[], object], *, most_s: float = 10.0) -> None:
    async with asyncio.timeout(most_s):
        while not is_so():
            await asyncio.sleep(0.005)
