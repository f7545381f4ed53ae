"""What the process that leads does in the background: it removes blobs, and indexes events."""

import asyncio
import logging

from koco.control.settings import Settings
from koco.control.storage.blobs import Blobs
from koco.control.storage.chunked import ChunkedUploads
from koco.errors import KocoError
from koco.store.store import Store

log = logging.getLogger(__name__)

#: How often unreferenced blobs are collected (seconds).
_COLLECT_S = 3600.0
#: How often new events are indexed for search, and the pauses between batches and after a failure
#: (seconds).
_INDEX_S = 1.0
_INDEX_PAUSE_S = 0.02
_INDEX_FAILED_S = 10.0


async def collect(blobs: Blobs, chunked: ChunkedUploads, settings: Settings) -> None:
    """Remove unreferenced blobs and abandoned uploads, now and every hour."""
    while True:
        try:
            if count := await blobs.collect() + await chunked.collect():
                log.info("removed %d unreferenced blobs and abandoned uploads", count)
        except (KocoError, OSError):
            log.exception("unreferenced blobs could not be removed")  # a full disk, say
        await asyncio.sleep(min(_COLLECT_S, settings.unfinished_hours * 3600))


async def index(store: Store) -> None:
    """Index new events for search and, after an upgrade, the older ones."""
    while True:
        try:
            has_more = await store.executions.index()
        except KocoError as exc:
            log.warning("new events cannot be indexed for search yet: %s", exc)  # a full disk, say
            await asyncio.sleep(_INDEX_FAILED_S)
        else:
            # Not all at once, because a commit waits for each batch.
            await asyncio.sleep(_INDEX_PAUSE_S if has_more else _INDEX_S)
