"""The engine: a database on a PostgreSQL server, its lock, its connections."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import msgspec
import psycopg

from koco.errors import KocoError
from koco.store.engine import protocol
from koco.store.engine.base import BaseEngine
from koco.store.engine.group_commit import GroupCommit
from koco.store.engine.postgres import copying, failures, rights, schema, standbys
from koco.store.engine.postgres.connection import Connection, connect
from koco.store.engine.postgres.readers import Readers
from koco.store.engine.postgres.writer import Writer
from koco.store.errors import DamagedError, StoreError
from koco.store.version import require_known

T = TypeVar("T")

#: The oldest server, as its version number.
_OLDEST = 150_000
#: How long a new control plane waits for the lock of its dead predecessor (seconds).
_LOCK_PATIENCE_S = 5.0
#: How many quick reads run at once, how many scans, and how many of those that run apart.
_THREADS_QUICK, _THREADS, _THREADS_APART = 4, 2, 3


class PostgresEngine(BaseEngine):
    """An `Engine` in the database at a URL. Its tables are in the schema `koco`."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._watch = standbys.Watch(self.missed_standbys)

    @property
    def location(self) -> str:
        """The URL, which has no password."""
        return self._url.partition("?")[0]

    def version(self) -> int:
        """Return the version of the tables."""
        try:
            with self._connection() as db:
                return schema.version_of(db)
        except psycopg.Error as exc:
            raise self._not_opened(exc) from exc

    async def check(self) -> None:
        """Refuse tables that a newer koco has written, and a server that koco cannot use."""
        require_known(await asyncio.to_thread(self.version))

    async def open(self) -> None:
        """Connect, take the lock, migrate."""
        await self.check()
        self._writer = self._new_writer()
        try:
            await asyncio.to_thread(self._writer.open)
        except psycopg.Error as exc:
            raise self._not_opened(exc) from exc
        self._commits = GroupCommit(self._writer.commit, on_news=self._tell)
        self._pools = [
            Readers(self._connect, threads=threads, location=self.location)
            for threads in (_THREADS_QUICK, _THREADS, _THREADS_APART)
        ]
        self._quick, self._readers, self._readers_apart = self._pools

    async def close(self) -> None:
        """Commit pending changes and disconnect."""
        self._watch.close()
        self._commits.close()
        for readers in self._pools:
            readers.close()
        self._writer.close()

    async def write(self, change: Callable[[protocol.Connection], T], *, grows: bool = False) -> T:
        """Make a change in the writer's next transaction."""
        with self._watch.change():
            return await super().write(change, grows=grows)

    async def missed_standbys(self) -> str | None:
        """Return the setting with the standbys that changes wait for, if they do."""
        return await self.read(standbys.missed)

    async def read(self, look: Callable[[protocol.Connection], T], *, snapshot: bool = False) -> T:
        """Look in a thread: even a quick look waits for the server."""
        try:
            return await self._quick.read(look, snapshot=snapshot)
        except Exception as exc:
            self._raise_damage(exc, look)
            raise

    async def copy(self, to: Path, look: Callable[[protocol.Connection], T]) -> T:
        """Copy the database into a file of SQLite of mode 0600, in a thread of its own."""
        return await copying.copy(self._connect, to, look, location=self.location)

    def is_open(self) -> bool:
        """Return whether some control plane has the locks."""
        try:
            with self._connection() as db:
                return rights.is_taken(db)
        except psycopg.Error as exc:
            raise self._not_opened(exc) from exc

    async def probe(self) -> int:
        """Commit a change without effect; return the version of the tables."""

        def change(db: protocol.Connection) -> int:
            touched = db.execute("UPDATE store SET version = version RETURNING version")
            return int(touched.fetchone()[0])

        return await self.write(change)

    async def size_bytes(self) -> int:
        """Return the size of the tables with their indexes."""
        query = (
            "SELECT CAST(sum(pg_total_relation_size(oid)) AS bigint) FROM pg_class"
            " WHERE relnamespace = CAST('koco' AS regnamespace) AND relkind = 'r'"
        )
        return await self.read(lambda db: int(db.execute(query).fetchone()[0]))

    def reusable_bytes(self) -> int:
        """Return 0: the server looks after its own disk."""
        return 0

    async def give_back(self, size_bytes: int) -> None:
        """Do nothing: the server looks after its own disk."""

    def hold(self, size_bytes: int) -> bool:
        """Reserve nothing: the server looks after its own disk."""
        return True

    def missing_bytes(self) -> int:
        """Return 0, because nothing is reserved."""
        return 0

    def _new_writer(self) -> Writer:
        right = rights.Alone(self.location, patience_s=_LOCK_PATIENCE_S)
        return Writer(self._connect, right, location=self.location, on_moved=self._move)

    def _move(self) -> None:
        """Read from the server that takes changes now."""
        for readers in self._pools:
            readers.move()

    def _connect(self) -> Connection:
        return connect(self._url)

    def _connection(self) -> "closing[Connection]":
        """Return a connection to a server that koco can use, for a moment.

        Raises:
            StoreError: there is none.
        """
        try:
            db = self._connect()
        except psycopg.Error as exc:
            raise self._not_opened(exc) from exc
        try:
            self._require_usable(db)
        except BaseException:
            db.close()
            raise
        return closing(db)

    def _require_usable(self, db: Connection) -> None:
        info = db.raw.info
        if info.server_version < _OLDEST:
            raise StoreError(
                f"{self.location} is PostgreSQL {info.server_version // 10_000}",
                hint=f"koco needs {_OLDEST // 10_000} or newer",
            )
        encoding = info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"the encoding of {self.location} is {encoding}",
                hint="`createdb --encoding UTF8 --template template0` makes one that koco can use",
            )

    def _not_opened(self, exc: psycopg.Error) -> KocoError:
        return failures.translate(exc, self.location, what="the store could not be opened")

    def _raise_damage(self, exc: Exception, work: Callable[..., object]) -> None:
        """Raise the error for a damaged store, if a row could not be decoded."""
        is_refusal = isinstance(exc, KocoError | psycopg.Error | UnicodeEncodeError)
        is_of_row = isinstance(exc, msgspec.MsgspecError | ValueError | TypeError | LookupError)
        if is_refusal or not is_of_row:
            return
        where = work.__qualname__.partition(".<locals>")[0]
        raise DamagedError(
            f"the store is damaged: {self.location} cannot be read ({where}: {exc})",
            hint="`koco down`, and restore a backup of the database",
        ) from exc
