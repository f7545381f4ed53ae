"""What all engines do alike: group commit, long looks in threads, and damage told as such."""

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from koco.store.engine.alone import Alone
from koco.store.engine.group_commit import GroupCommit
from koco.store.engine.protocol import Connection

T = TypeVar("T")


class LongReaders(Protocol):
    """Threads for long looks."""

    async def read(self, look: Callable[[Any], T], *, most_s: float = ...) -> T:
        """Return the result of a look whose statements all see the same state."""
        ...

    def close(self) -> None:
        """Wait for running reads; close the connections."""


class BaseEngine(Alone):
    """The base of engines, which set `_commits` and both `_readers` when they are opened."""

    _commits: GroupCommit
    _readers: LongReaders
    _readers_apart: LongReaders

    def __init__(self) -> None:
        super().__init__()
        self.require_room: Callable[[], None] = lambda: None
        self.on_news: Callable[[list[Any]], None] = lambda news: None

    async def write(self, change: Callable[[Connection], T], *, grows: bool = False) -> T:
        """Make a change in the writer's next transaction."""
        try:
            return await self._commits.submit(change, grows=grows)
        except Exception as exc:
            self._raise_damage(exc, change)
            raise

    async def scan(
        self, look: Callable[[Connection], T], *, most_s: float = math.inf, apart: bool = False
    ) -> T:
        """Look in a thread of those for long looks."""
        try:
            readers = self._readers_apart if apart else self._readers
            return await readers.read(look, most_s=most_s)
        except Exception as exc:
            self._raise_damage(exc, look)
            raise

    def _tell(self, news: list[Any]) -> None:
        self.on_news(news)  # which may be set after it is opened

    def _raise_damage(self, exc: Exception, work: Callable[..., object]) -> None:
        """Raise the error for a damaged store, if that is the reason for another error."""
        raise NotImplementedError
