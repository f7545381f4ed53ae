"""The feed of changes: which executions are new, have another status, or are gone.

It is read from the store, which has each execution once, at its latest change. So a reader that was
away for a day gets the day's outcome rather than each step, and nothing is stored per reader.
"""

import asyncio
from collections.abc import AsyncGenerator

from koco.control.events.spooler import ANY, Spooler
from koco.store.model import ChangePage, Sight
from koco.store.store import Store

#: The shortest time between two reads of one reader, and its increase for each further reader
#: (seconds). Without it, many readers would keep the store from writing when much changes.
_PACE_S = 0.05
_PACE_EACH_S = 0.002
#: How many changes a reader gets at once.
_PIECE = 100


async def follow(
    store: Store, spooler: Spooler, *, cursor: str | None, sight: Sight, heartbeat_s: float
) -> AsyncGenerator[ChangePage]:
    """Yield changes after a cursor as they are committed; a page without any is a heartbeat.

    Ends when another control plane takes over: the last page's cursor is valid there.
    """
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    spooler.watch(ANY, event)
    try:
        while not spooler.is_dismissed:
            # Cleared before reading, because a commit after that sets it again.
            event.clear()
            looked_at = loop.time()
            page = None
            if cursor is None or cursor != await store.changes.latest():
                page = await store.changes.page(cursor=cursor, sight=sight, limit=_PIECE)
                cursor = page.next
                if page.items or not page.is_last:
                    yield page
            if page is not None and not page.is_last:
                continue
            try:
                # Not `wait_for`: before Python 3.12 it forgets to be cancelled if news come then.
                async with asyncio.timeout(heartbeat_s):
                    await event.wait()
            except TimeoutError:
                yield ChangePage([], cursor)
            pace_s = _PACE_S + _PACE_EACH_S * spooler.readers(ANY)
            await asyncio.sleep(max(0.0, looked_at + pace_s - loop.time()))
    finally:
        spooler.unwatch(ANY, event)


async def wait(
    store: Store,
    spooler: Spooler,
    *,
    cursor: str | None,
    sight: Sight,
    limit: int,
    wait_s: float,
) -> ChangePage:
    """Return a page of changes. If there are none yet, wait for some, for at most `wait_s`."""
    page = await store.changes.page(cursor=cursor, sight=sight, limit=limit)
    if page.items or not page.is_last or wait_s <= 0:
        return page
    news = follow(store, spooler, cursor=page.next, sight=sight, heartbeat_s=wait_s)
    try:
        async with asyncio.timeout(wait_s):
            async for found in news:
                if found.items:
                    # Read again, because `limit` may be larger than a page of `follow`.
                    return await store.changes.page(cursor=page.next, sight=sight, limit=limit)
                page = found
    except TimeoutError:
        pass
    finally:
        await news.aclose()
    return page
