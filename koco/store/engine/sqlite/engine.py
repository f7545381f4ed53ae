"""The engine: its file, its lock, its connections."""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from koco.errors import ConflictError
from koco.store.engine import protocol
from koco.store.engine.base import BaseEngine
from koco.store.engine.group_commit import GroupCommit
from koco.store.engine.sqlite import copying, damage, schema, search
from koco.store.engine.sqlite.ballast import LONGEST_LOG_BYTES, Ballast
from koco.store.engine.sqlite.connection import (
    Connection,
    connect,
    connect_to_read,
)
from koco.store.engine.sqlite.readers import Readers, look_at_once
from koco.store.engine.sqlite.writer import Writer, failure, is_full
from koco.store.version import require_known

T = TypeVar("T")

#: How long a new control plane waits for the lock of its dead predecessor (seconds).
_LOCK_PATIENCE_S = 3.0
#: How many scans run at once, and how many of those that run apart: the machine has other work.
_THREADS, _THREADS_APART = 2, 3


class SqliteEngine(BaseEngine):
    """An `Engine` in the file at `path`. Its directory is created if missing."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._ballast = Ballast(path.with_name("reserve"), log=self._log)
        self._lock_fd: int | None = None

    @property
    def location(self) -> str:
        """The path of the file."""
        return str(self._path)

    def version(self) -> int:
        """Return the version of the tables in the file."""
        return schema.version_of(self._path)

    async def check(self) -> None:
        """Refuse a file that a newer koco has written."""
        while True:
            try:
                require_known(self.version())
                return
            except sqlite3.Error as exc:
                # Even reading creates a file, and the disk may be full.
                if not (is_full(exc) and self._ballast.give_up()):
                    raise self._damage(exc, "check") or self._not_opened(exc) from exc

    async def open(self) -> None:
        """Take the lock, open the connections, migrate."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._lock()
        try:
            # Before a connection that may write, because closing that one changes the file.
            await self.check()
            self._db = self._opened()
            self._reader = connect_to_read(self._path)
        except BaseException as exc:
            self._unlock()
            if isinstance(exc, Exception) and (damaged := self._damage(exc, "open")):
                raise damaged from exc
            if isinstance(exc, sqlite3.Error):
                raise self._not_opened(exc) from exc
            raise
        self._writer = Writer(self._db, give_up=self._ballast.give_up)
        self._commits = GroupCommit(self._writer.commit, on_news=self._tell)
        self._readers = Readers(lambda: connect_to_read(self._path), threads=_THREADS)
        self._readers_apart = Readers(lambda: connect_to_read(self._path), threads=_THREADS_APART)

    async def close(self) -> None:
        """Commit pending changes and release the file."""
        self._commits.close()
        self._readers.close()
        self._readers_apart.close()
        self._reader.close()
        self._db.close()
        self._ballast.release()
        self._unlock()

    async def read(self, look: Callable[[protocol.Connection], T], *, snapshot: bool = False) -> T:
        """Look at once, on the loop's own connection."""
        try:
            return look_at_once(self._reader, look) if snapshot else look(self._reader)
        except Exception as exc:
            self._raise_damage(exc, look)
            raise

    async def copy(self, to: Path, look: Callable[[protocol.Connection], T]) -> T:
        """Copy the database into a file of mode 0600, in a thread of its own."""
        return await copying.copy(lambda: connect_to_read(self._path), to, look)

    def is_open(self) -> bool:
        """Return whether some process has the lock."""
        try:
            descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    async def probe(self) -> int:
        """Commit a change without effect; return the version of the tables."""

        def change(db: protocol.Connection) -> int:
            db.execute("UPDATE tallies SET count = count")
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            # Set again, so that there is a write even without tallies.
            db.execute(f"PRAGMA user_version = {version}")
            return version

        return await self.write(change)

    async def size_bytes(self) -> int:
        """Return the size of the file and of its log."""
        return _size_of(self._path) + _size_of(self._log)

    def reusable_bytes(self) -> int:
        """Return the free space within the file (bytes)."""
        pages: int = self._reader.execute("PRAGMA freelist_count").fetchone()[0]
        size: int = self._reader.execute("PRAGMA page_size").fetchone()[0]
        return pages * size

    async def give_back(self, size_bytes: int) -> None:
        """Make the file shorter by about as much, where it has free space."""

        def shorten(db: protocol.Connection) -> None:
            page: int = db.execute("PRAGMA page_size").fetchone()[0]
            db.execute(f"PRAGMA incremental_vacuum({size_bytes // page})").fetchall()

        await self.write(shorten)

    def hold(self, size_bytes: int) -> bool:
        """Reserve room for changes that must succeed; False if the disk has too little. Blocks."""
        return self._ballast.hold(size_bytes)

    def missing_bytes(self) -> int:
        """Return how much of the reserved room had to be given up (bytes)."""
        return self._ballast.missing_bytes

    def _opened(self) -> Connection:
        """Return the writing connection. On a full disk, use the reserved room to open it."""
        while True:
            try:
                db = connect(self._path)
                db.execute(f"PRAGMA journal_size_limit = {LONGEST_LOG_BYTES}")
                # The journal of a savepoint with many changes. As a file, it would need room on
                # the disk, too.
                db.execute("PRAGMA temp_store = MEMORY")
                schema.migrate(db)
                search.prepare(db)
                return db
            except sqlite3.Error as exc:
                if not (is_full(exc) and self._ballast.give_up()):
                    raise

    async def _lock(self) -> None:
        # Two control planes on one store would each settle the other's executions.
        self._lock_fd = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConflictError(
                        f"another control plane has {self._path} open",
                        hint="`koco down` stops it; or give this one a KOCO_HOME of its own",
                    ) from None
                await asyncio.sleep(0.02)

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _not_opened(self, exc: sqlite3.Error) -> Exception:
        return failure(exc, f"{self._path} could not be opened")

    def _raise_damage(self, exc: Exception, work: Callable[..., object]) -> None:
        """Raise the error for a damaged store, if that is the reason for another error."""
        if damaged := self._damage(exc, work.__qualname__.partition(".<locals>")[0]):
            raise damaged from damaged.__cause__

    def _damage(self, exc: Exception, where: str) -> Exception | None:
        return damage.translate(exc, path=self._path, where=where)


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
