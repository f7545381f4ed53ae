"""Threads in which `koco.AsyncClient` makes requests, so that they do not block an event loop.

They are daemons, because a program may end, by Ctrl-C for example, while a request waits for its
answer: the threads of a `ThreadPoolExecutor` would hold it up until the request is over.
"""

import asyncio
import contextlib
import contextvars
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar

#: Items of a stream that are read ahead.
_AHEAD = 100
#: The most requests at once; more of them wait.
_THREADS = 32

_P = ParamSpec("_P")
_R = TypeVar("_R")


class RequestThreads:
    """Threads for requests, and for streams."""

    def __init__(self) -> None:
        # By process, because threads do not survive a fork.
        self._pools: dict[int, _Pool] = {}
        weakref.finalize(self, _close, self._pools)

    async def run(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Return what a function returns, without blocking the loop.

        It runs in the caller's context, which has the present span of OpenTelemetry.
        """
        context = contextvars.copy_context()
        pool = self._pools.get(os.getpid()) or self._pools.setdefault(os.getpid(), _Pool())
        work = pool.submit(lambda: context.run(function, *args, **kwargs))
        return await asyncio.wrap_future(work)

    async def iterate(self, items: Iterator[_R]) -> AsyncIterator[_R]:
        """Yield what an iterator yields, from a thread of its own: a stream may be silent long."""
        hand_over = _HandOver(items, asyncio.get_running_loop())
        try:
            async for item in hand_over:
                yield item
        finally:
            hand_over.stop()

    def close(self) -> None:
        """Cancel what waits for a thread, and let the threads end."""
        _close(self._pools)


def _close(pools: "dict[int, _Pool]") -> None:
    if (pool := pools.pop(os.getpid(), None)) is not None:
        pool.close()


class _Pool:
    """Threads that are made as they are needed, and kept."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._unfinished = 0

    def submit(self, work: Callable[[], _R]) -> "Future[_R]":
        """Have a thread do some work; return its future result."""
        done: Future[_R] = Future()
        self._waiting.put((done, work))
        with self._lock:
            self._unfinished += 1
            if self._threads < min(self._unfinished, _THREADS):
                self._threads += 1
                threading.Thread(target=self._serve, daemon=True, name="koco-client").start()
        return done

    def close(self) -> None:
        """Cancel what has not begun, and end the threads."""
        with contextlib.suppress(Empty):
            while (found := self._waiting.get_nowait()) is not None:
                found[0].cancel()
        with self._lock:
            for _ in range(self._threads):
                self._waiting.put(None)

    def _serve(self) -> None:
        while (found := self._waiting.get()) is not None:
            done, work = found
            if done.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as exc:  # noqa: BLE001 - raised where it is awaited
                    done.set_exception(exc)
                else:
                    done.set_result(result)
                    del result
            del found, done, work  # they may hold much, and the next may be long in coming
            with self._lock:
                self._unfinished -= 1


class _HandOver(Generic[_R]):
    """Gives the items of a blocking iterator to an event loop, a few at a time."""

    def __init__(self, items: Iterator[_R], loop: asyncio.AbstractEventLoop) -> None:
        self._items = items
        self._loop = loop
        self._queue: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue(maxsize=_AHEAD)
        self._is_stopped = False
        # A daemon, because a program may end while its stream is silent.
        threading.Thread(target=self._read, daemon=True, name="koco-stream").start()

    async def __aiter__(self) -> AsyncIterator[_R]:
        while True:
            is_item, found = await self._queue.get()
            if is_item:
                yield found
            elif found is None:
                return
            else:
                raise found

    def stop(self) -> None:
        """Let the thread end with the next item."""
        self._is_stopped = True
        while not self._queue.empty():  # it may wait for room
            self._queue.get_nowait()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if self._is_stopped:
                    return
                self._put(True, item)
        except BaseException as exc:  # noqa: BLE001 - raised in the loop
            error = exc
        self._put(False, error)

    def _put(self, is_item: bool, found: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            handed = self._queue.put((is_item, found))
            asyncio.run_coroutine_threadsafe(handed, self._loop).result()
