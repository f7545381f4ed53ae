"""Blobs that nothing refers to any more, and how they are told from those that are being added.

Only the process that leads adds blobs and removes them, so locks in memory are enough. A former
leader that stood still looks at a blob's age again before it removes it. Between that look and the
removal it could still miss that the next leader adds the same content: some milliseconds, and only
for content of which nothing has been left for a day. Not all storage removes on a condition.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from koco.control.settings import Settings
from koco.control.storage.blob_stores.protocol import BlobStore
from koco.events import line
from koco.store.store import Store

#: How many blobs one transaction looks up.
_BATCH = 100


class Garbage:
    """Removes blobs that nothing refers to."""

    def __init__(self, kept: BlobStore, store: Store, settings: Settings) -> None:
        #: Held while a blob is referenced, and while garbage is found and removed.
        self.settling = asyncio.Lock()
        self._kept = kept
        self._store = store
        self._settings = settings
        #: The blobs that are being added, which nothing refers to yet.
        self._spared: Counter[str] = Counter()
        #: How many need that no blob is removed.
        self._holds = 0

    @contextlib.asynccontextmanager
    async def spare(self, sha256: str) -> AsyncIterator[None]:
        """Keep a blob that is being added, while the block has something refer to it."""
        self._spared[sha256] += 1
        try:
            async with self.settling:
                pass  # those that are being removed now were chosen before
            yield
        finally:
            self._spared[sha256] -= 1
            if not self._spared[sha256]:
                del self._spared[sha256]

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every blob, also those that nothing refers to any more, while the block runs.

        Enter it while holding `settling`.
        """
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    async def collect(self, before: float) -> int:
        """Remove the unreferenced blobs from before a time; return how many."""
        count = await self._collect([], before)  # the records of uploads, even without a blob
        async for names in self._kept.old(before):
            for at in range(0, len(names), _BATCH):
                count += await self._collect(names[at : at + _BATCH], before)
        return count

    async def _collect(self, names: list[str], before: float) -> int:
        """Remove those of some old blobs that nothing refers to; return how many."""
        async with self.settling:
            if self._holds:
                return 0
            unnamed = await self._store.uploads.find_unused(
                names, before=line.timestamp(before), keep_releases=self._settings.keep_releases
            )
            unnamed = [name for name in unnamed if name not in self._spared]
            await self._kept.remove(unnamed, before=before)
            return len(unnamed)
