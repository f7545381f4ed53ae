"""Copy all blobs of one place into another, while no control plane uses them.

A blob is checked before it is added there, and is left out if it is there already: a copy that was
interrupted is repeated, and goes on.
"""

import asyncio
import hashlib
import time
from pathlib import Path
from typing import NamedTuple

from koco.control.storage.blob_stores.copies import require_hash
from koco.control.storage.blob_stores.protocol import BlobStore

#: How many blobs are copied at once.
_SIDE_BY_SIDE = 4
#: No blob is newer (seconds from now).
_LATER_S = 365 * 24 * 3600.0


class Copied(NamedTuple):
    """How many blobs were copied, their size, and how many were there already."""

    blobs: int
    size_bytes: int
    present: int


async def between(source: BlobStore, target: BlobStore, scratch: Path) -> Copied:
    """Copy all blobs; `scratch` is an empty folder for those that are under way.

    Raises:
        BlobsAwayError: a place does not answer.
        NoRoomError: there is no room in the target, or for a blob in the scratch folder.
        KocoError: a blob in the source is damaged.
    """
    turns = asyncio.Semaphore(_SIDE_BY_SIDE)
    done: list[int | None] = []

    async def one(sha256: str) -> None:
        async with turns:
            done.append(await _one(source, target, sha256, scratch / sha256))

    async for names in source.old(time.time() + _LATER_S):
        await asyncio.gather(*map(one, names))
    sizes = [each for each in done if each is not None]
    return Copied(len(sizes), sum(sizes), len(done) - len(sizes))


async def _one(source: BlobStore, target: BlobStore, sha256: str, part: Path) -> int | None:
    """Copy a blob; return its size, or None if it is there already."""
    size_bytes = await source.size(sha256)
    if size_bytes is None or await target.size(sha256) == size_bytes:
        return None
    digest = hashlib.sha256()
    try:
        with await asyncio.to_thread(part.open, "wb") as file:
            async for piece in await source.open(sha256):
                digest.update(piece)
                await asyncio.to_thread(file.write, piece)
        require_hash(digest.hexdigest(), sha256, source.location)
        await target.add(sha256, part)
    finally:
        await asyncio.to_thread(part.unlink, missing_ok=True)
    return size_bytes
