"""The base of all repositories."""

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from koco.store.engine.protocol import Connection, Engine

T = TypeVar("T")


class Repository:
    """The rows of one subject. When a coroutine has returned, its change is on disk.

    If the disk is nearly full, methods that add data raise `NoRoomError` before methods that end
    or remove something do. All methods raise `DamagedError` if the stored data is damaged.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _read(self, look: Callable[[Connection], T], *, snapshot: bool = False) -> Awaitable[T]:
        """Look quickly: at a page, by an index. With `snapshot`, all of it is of one moment."""
        return self._engine.read(look, snapshot=snapshot)

    def _scan(
        self, look: Callable[[Connection], T], *, most_s: float = math.inf, apart: bool = False
    ) -> Awaitable[T]:
        """Look in a thread; see `Engine.scan`."""
        return self._engine.scan(look, most_s=most_s, apart=apart)

    def _write(self, change: Callable[[Connection], T]) -> Awaitable[T]:
        """Make a change that succeeds even if the disk is full."""
        return self._engine.write(change)

    def _add(self, change: Callable[[Connection], T]) -> Awaitable[T]:
        """Make a change that adds data, if there is room for it."""
        self._engine.require_room()
        return self._engine.write(change, grows=True)
