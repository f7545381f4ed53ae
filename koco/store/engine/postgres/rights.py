"""Who may write to a database, and by which locks: one process alone, or several that share it.

Whoever has it alone holds `_LEADING` and `_PRESENT` for as long as its writing connection lives.
Those who share it hold `_PRESENT` together. One of them leads and holds `LEADING`, by a connection
of its own, which only renews its claim. Each of their transactions holds `WRITING`: the SQL of the
repositories is written for one writer. Locks are taken in the order in which they are listed, so
nobody waits in a circle.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import psycopg

from koco.errors import ConflictError
from koco.store.engine.postgres import schema
from koco.store.engine.postgres.connection import Connection
from koco.store.errors import DeposedError
from koco.store.version import LATEST, require_known

#: Advisory locks: the letters `kocp`, `koco` and `kocw`, as numbers.
_PRESENT, LEADING, WRITING = 0x6B6F6370, 0x6B6F636F, 0x6B6F6377
#: How long an opening waits for the lock of a process that has just ended, and for another one to
#: migrate the tables (seconds).
_PATIENCE_S, _MIGRATION_S = 5.0, 60.0
#: How long a leader waits for its own lost session to end (seconds).
_OWN_S = 1.0
#: How long two attempts are apart (seconds).
_PAUSE_S = 0.05
#: A process that stands still in a transaction keeps all others from writing for this long (ms).
_IDLE_MS = 2500

_NUMBER = "CAST(pg_current_xact_id() AS text)"


class HeldError(psycopg.OperationalError):
    """Somebody else has the lock: perhaps this process's own lost connection."""


class Right(Protocol):
    """The right to write."""

    #: Whether other processes write as well.
    is_shared: bool
    leads: bool
    #: Begins a transaction. The last result is a row that begins with the transaction's number.
    begin: str
    #: How many results come before that one.
    skipped: int

    def enter(self, db: Connection) -> None:
        """Take the locks on the first connection, and migrate the tables.

        Raises:
            ConflictError: it is open elsewhere, or a newer koco has written it.
            psycopg.Error: it cannot be opened.
        """

    def renew(self, db: Connection) -> None:
        """Take the locks on another connection, after one was lost.

        Raises:
            HeldError: perhaps the lost connection still has them.
            ConflictError: another control plane had the store meanwhile.
            DeposedError: another process leads.
        """

    def check(self, row: tuple[Any, ...]) -> None:
        """Check the row that begins a transaction.

        Raises:
            ConflictError: a newer koco has migrated the tables meanwhile.
            DeposedError: another process leads.
        """


class Alone:
    """The right of a control plane that nobody shares the store with."""

    is_shared, leads = False, True
    begin, skipped = f"BEGIN; SELECT {_NUMBER}", 1

    def __init__(self, location: str, *, patience_s: float = _PATIENCE_S) -> None:
        self._location = location
        self._patience_s = patience_s
        self.opened = 0

    def enter(self, db: Connection) -> None:
        """Take the locks and migrate."""
        until_s = time.monotonic() + self._patience_s
        while not self._lock(db):
            if time.monotonic() > until_s:
                raise _taken(self._location)
            time.sleep(_PAUSE_S)
        self.opened = schema.migrate(db)

    def renew(self, db: Connection) -> None:
        """Take the locks again, unless somebody had them meanwhile."""
        if not self._lock(db):
            raise HeldError("another control plane has it open")
        if _opened(db) != self.opened:
            raise ConflictError(
                f"another control plane has written to {self._location} meanwhile",
                hint="`koco down`, then `koco up`: this one no longer knows what is true",
            )

    def check(self, row: tuple[Any, ...]) -> None:
        """Check nothing: it has the locks."""

    @staticmethod
    def _lock(db: Connection) -> bool:
        return _has(db, f"pg_try_advisory_lock({_PRESENT})") and _has(
            db, f"pg_try_advisory_lock({LEADING})"
        )


class Shared:
    """The right of one of several processes."""

    is_shared, leads = True, False
    # The lock comes first and alone, because what follows must see the commits before it.
    begin = (
        f"BEGIN; SELECT pg_advisory_xact_lock({WRITING});"
        f" SELECT {_NUMBER}, version, opened FROM store"
    )
    skipped = 2

    def __init__(self, location: str) -> None:
        self._location = location

    def enter(self, db: Connection) -> None:
        """Join those who share the store. If the tables are older or missing, migrate them."""
        until_s = time.monotonic() + _PATIENCE_S
        while not self._join(db):
            if time.monotonic() > until_s:
                raise _taken(self._location)
            time.sleep(_PAUSE_S)
        until_s = time.monotonic() + _MIGRATION_S
        while (version := schema.version_of(db)) != LATEST:
            require_known(version)
            if _has(db, f"pg_try_advisory_lock({LEADING})"):
                schema.migrate(db)
                _has(db, f"pg_advisory_unlock({LEADING})")
            elif time.monotonic() > until_s:
                raise ConflictError(
                    f"{self._location} has the tables of an older koco, whose control plane leads",
                    hint="`koco down` stops it; this one migrates them then",
                )
            else:
                time.sleep(_PAUSE_S)

    def renew(self, db: Connection) -> None:
        """Join again."""
        self.rejoin(db)

    def rejoin(self, db: Connection) -> None:
        """Join with another connection.

        Raises:
            HeldError: another control plane has it open alone.
        """
        if not self._join(db):
            raise HeldError("another control plane has it open alone")

    def _join(self, db: Connection) -> bool:
        """Join those who share the store, with one of this process's writing connections."""
        db.raw.execute(cast(Any, f"SET idle_in_transaction_session_timeout TO {_IDLE_MS}"))
        return _has(db, f"pg_try_advisory_lock_shared({_PRESENT})")

    def check(self, row: tuple[Any, ...]) -> None:
        """Check that the tables are this koco's."""
        require_known(row[1])


class Leading(Shared):
    """The right of the one that leads, in an epoch."""

    leads = True

    def __init__(self, location: str, epoch: int, backend: int) -> None:
        super().__init__(location)
        self.epoch = epoch
        #: The process of the server that has the lock.
        self._backend = backend

    def renew(self, db: Connection) -> None:
        """Join again, if no other leader has come."""
        self.rejoin(db)
        if _opened(db) != self.epoch:
            raise deposed(self._location)

    def take_again(self, db: Connection) -> None:
        """Take the lead with another connection, if nobody else has it: the former one was lost.

        Raises:
            DeposedError: another process leads.
        """
        self.renew(db)
        # The server may not know yet that the former connection is lost.
        db.raw.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND granted AND pid = %s",
            (LEADING, self._backend),
        )
        until_s = time.monotonic() + _OWN_S
        while not _has(db, f"pg_try_advisory_lock({LEADING})"):
            if _opened(db) != self.epoch or time.monotonic() > until_s:
                raise deposed(self._location)
            time.sleep(_PAUSE_S)
        if _opened(db) != self.epoch:
            raise deposed(self._location)
        self._backend = db.backend

    def check(self, row: tuple[Any, ...]) -> None:
        """Check that no other leader has come."""
        super().check(row)
        if row[2] != self.epoch:
            raise deposed(self._location)


def deposed(location: str) -> DeposedError:
    """Return the error of a process that led."""
    return DeposedError(
        f"this control plane no longer leads {location}, so it may not write",
        hint="another process leads now, or will in a moment: try again",
    )


@contextmanager
def turn(db: Connection) -> Iterator[None]:
    """Run a transaction when no other process of a shared store writes."""
    with db.raw.transaction():
        db.raw.execute(f"SELECT pg_advisory_xact_lock({WRITING})")
        yield


def is_taken(db: Connection) -> bool:
    """Whether some control plane has the database open."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND classid = 0 AND objid IN (%s, %s) AND granted"
        " AND d.datname = current_database())"
    )
    [(found,)] = db.raw.execute(query, (_PRESENT, LEADING)).fetchall()
    return bool(found)


def _taken(location: str) -> ConflictError:
    return ConflictError(
        f"another control plane has {location} open",
        hint="`koco down` stops it; or give this one a database of its own",
    )


def _has(db: Connection, lock: str) -> bool:
    [(has_it,)] = db.raw.execute(cast(Any, f"SELECT {lock}")).fetchall()
    return bool(has_it)


def _opened(db: Connection) -> int:
    [(opened,)] = db.raw.execute("SELECT opened FROM store").fetchall()
    return int(opened)
