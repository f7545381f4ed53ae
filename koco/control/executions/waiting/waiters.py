"""The requests of flows that wait for something: a lock, a time, a message, another execution."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from koco.errors import ConflictError


class Waiter:
    """One request that waits. What it waits for is in the store, so it looks there when woken."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._is_dismissed = False

    async def until_woken(self) -> None:
        """Wait until there may be news.

        Raises:
            ConflictError: the execution has left the process that asks.
        """
        if self._is_dismissed:
            raise ConflictError("the execution no longer belongs to the process that asks")
        await self._event.wait()
        self._event.clear()

    def wake(self, *, dismisses: bool = False) -> None:
        """Let it look again, for the last time if `dismisses`."""
        self._is_dismissed |= dismisses
        self._event.set()


class Waiters:
    """The waiting requests, by execution and by what they wait for: a lock's id, or a step's key.

    Executions without a process have none, so a hundred thousand parked ones cost nothing here.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, set[Waiter]]] = {}

    @contextmanager
    def waiting(self, fid: str, name: str) -> Iterator[Waiter]:
        """Register a request while the block runs.

        Look in the store inside the block, because news before it wakes nobody.
        """
        waiter = Waiter()
        self._waiting.setdefault(fid, {}).setdefault(name, set()).add(waiter)
        try:
            yield waiter
        finally:
            self._remove(fid, name, waiter)

    def wake(self, fid: str, name: str) -> None:
        """Wake the requests that wait for one thing."""
        for waiter in self._waiting.get(fid, {}).get(name, ()):
            waiter.wake()

    def dismiss(self, fid: str) -> None:
        """End all requests of an execution, because it has ended or left its process."""
        for waiters in self._waiting.get(fid, {}).values():
            for waiter in waiters:
                waiter.wake(dismisses=True)

    @property
    def count(self) -> int:
        """How many requests wait."""
        return sum(len(each) for names in self._waiting.values() for each in names.values())

    def _remove(self, fid: str, name: str, waiter: Waiter) -> None:
        names = self._waiting[fid]
        names[name].discard(waiter)
        if not names[name]:
            del names[name]
        if not names:
            del self._waiting[fid]
