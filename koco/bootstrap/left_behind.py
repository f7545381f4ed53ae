"""Notice that a control plane would begin empty because what it has so far is elsewhere."""

import asyncio
import sqlite3
import time
from pathlib import Path

from koco.errors import ConflictError, KocoError
from koco.store.store import Store

#: More than the clocks of two machines differ (seconds).
_LATER_S = 86_400.0


def refuse_store(former: str, store: str, data_dir: str) -> None:
    """Refuse an empty store if the former one has been used; "" is the file. Blocks.

    Raises:
        ConflictError: the former store has to be copied first.
    """
    source, target = (each or str(Path(data_dir) / "store.db") for each in (former, store))
    if source == target or not _is_used(source) or _is_used(target):
        return
    raise _refusal(f"{target} is empty, and the store is in {source}", "store", source, target)


def refuse_blobs(former: str, blobs: str, data_dir: str) -> None:
    """Refuse a place without blobs if the former one has some; "" is the data directory. Blocks.

    Raises:
        ConflictError: the former blobs have to be copied first.
    """
    source, target = (each or str(Path(data_dir) / "blobs") for each in (former, blobs))
    if source == target or not _has_blobs(source, data_dir) or _has_blobs(target, data_dir):
        return
    raise _refusal(f"{target} is empty, and the blobs are in {source}", "blobs", source, target)


def _refusal(message: str, what: str, source: str, target: str) -> ConflictError:
    return ConflictError(
        message,
        hint=f"after `koco down`, `koco {what} copy --from {source} --to {target}` moves"
        f" {'it' if what == 'store' else 'them'}; to begin with nothing, use another `--data-dir`",
    )


def _is_used(place: str) -> bool:
    """Return whether a store has been used, as far as it can be asked."""
    try:
        return Store.at(place if "://" in place else Path(place)).engine.version() > 0
    except (KocoError, sqlite3.Error):
        return False


def _has_blobs(place: str, data_dir: str) -> bool:
    from koco.control.storage.blob_stores import address  # few have blobs elsewhere

    async def look() -> bool:
        async for names in address.make(place, Path(data_dir)).old(time.time() + _LATER_S):
            if names:
                return True
        return False

    if "://" not in place and not Path(place).is_dir():
        return False
    try:
        return asyncio.run(look())
    except KocoError:
        return False
