"""The one thread that writes: many callers' changes in one transaction.

Changes that arrive during a commit share the next one. There is no timer, so a lone change is
written at once, and many changes share one wait for the disk.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from koco.store.engine.protocol import Connection
from koco.store.errors import StoreError

log = logging.getLogger(__name__)

T = TypeVar("T")

Change = Callable[[Connection], Any]


class Waiting(NamedTuple):
    """A change that waits for its commit."""

    change: Change
    future: "asyncio.Future[Any]"
    #: Whether it adds data, and so may be refused if the disk is full.
    grows: bool


class Committed(NamedTuple):
    """What became of some changes: the result or the error of each, and what they tell others."""

    results: Sequence[Any]
    news: list[Any]


class GroupCommit:
    """Collect changes for `commit`, which runs in a thread. Call `submit` on the event loop only.

    `commit` raises nothing. `on_news` is called on the loop with what the committed changes tell.
    """

    def __init__(
        self,
        commit: Callable[[list[Waiting]], Committed],
        *,
        on_news: Callable[[list[Any]], None],
    ) -> None:
        self._commit = commit
        self._on_news = on_news
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Waiting] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="koco-store", daemon=True)
        self._thread.start()

    async def submit(self, change: Callable[[Connection], T], *, grows: bool = False) -> T:
        """Run a change in the next transaction; return its result once it is committed.

        Raises:
            NoRoomError: the disk is full, and the change `grows`.
            StoreError: it could not be committed.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise StoreError("the store is closed")
            self._waiting.append(Waiting(change, future, grows))
            self._wake.notify()
        return await future

    def close(self) -> None:
        """Commit pending changes, then end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                taken, self._waiting = self._waiting, []
            if not taken:
                return
            results, news = self._commit(taken)
            futures = [each.future for each in taken]
            try:
                if news:
                    self._loop.call_soon_threadsafe(self._tell, news)
                self._loop.call_soon_threadsafe(_deliver, futures, results)
            except RuntimeError:
                return  # the loop is closed, so no caller is waiting

    def _tell(self, news: list[Any]) -> None:
        try:
            self._on_news(news)
        except Exception:
            # The changes are committed, whatever becomes of the news.
            log.exception("the news of the store were not handled")


def _deliver(futures: list["asyncio.Future[Any]"], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue  # its caller was cancelled, but the change stands
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
