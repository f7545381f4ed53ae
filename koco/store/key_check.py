"""Look into a store that no control plane has open: would it accept a key?"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from koco.store.engine.protocol import Connection
from koco.store.engine.sqlite.connection import connect_to_look
from koco.store.store import Store

_QUESTION = """
    SELECT NOT EXISTS (SELECT 1 FROM keys)
        OR EXISTS (SELECT 1 FROM keys WHERE digest = :digest OR former = :digest)
"""


def admits(place: Path | str, digest: bytes) -> bool:
    """Return whether a store has the key with this SHA-256, or no keys. Changes no key.

    A file that cannot be read counts as one: the control plane says what is wrong with it.
    """
    return _admits_in_database(place, digest) if isinstance(place, str) else _admits(place, digest)


def _admits_in_database(url: str, digest: bytes) -> bool:
    async def ask() -> bool:
        store = Store.at(url)
        await store.open()
        try:
            has_it = await store.keys.find(digest) is not None
            return has_it or not await store.engine.read(_has_keys)
        finally:
            await store.close()

    return asyncio.run(ask())


def _has_keys(db: Connection) -> bool:
    return db.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None


def _admits(path: Path, digest: bytes) -> bool:
    if not path.is_file():
        return True
    try:
        with closing(connect_to_look(path)) as db:
            return bool(db.execute(_QUESTION, {"digest": digest}).fetchone()[0])
    except sqlite3.Error:
        return True
