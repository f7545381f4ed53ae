"""Processes of a shared store for tests: some in this process, and some of their own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
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


class Process:
    """A process of its own, which does what it is told: see `member_program`."""

    def __init__(self, url: str, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.member_program", url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.pid = self._process.pid

    def tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, *words: object) -> str:
        """Tell it to do something, and return what comes of it."""
        self.tell(*words)
        answer = self.hear()
        assert answer.startswith(str(words[0])), answer
        return answer.removeprefix(str(words[0])).strip()

    def send(self, which: signal.Signals) -> None:
        os.kill(self.pid, which)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def processes(url: str, *names: str) -> Iterator[list[Process]]:
    found = [Process(url, name) for name in names]
    try:
        for each in found:
            assert each.hear() == "open"
        yield found
    finally:
        for each in found:
            each.end()
