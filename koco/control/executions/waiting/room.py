"""Changes of flows that wait for room on the control plane's disk, as their events do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from koco.control.tasks import RETRY_S
from koco.errors import NoRoomError
from koco.store.store import Store

T = TypeVar("T")


async def when_there_is_room(store: Store, fid: str, change: Callable[[], Awaitable[T]]) -> T:
    """Make a change of an execution; while the disk is full, try again.

    Raises:
        NoRoomError: the execution has ended meanwhile.
    """
    while True:
        try:
            return await change()
        except NoRoomError:
            if (await store.executions.get(fid)).status.is_final:
                raise
            await asyncio.sleep(RETRY_S)
