"""The connection that writes: changes in transactions, which survive the loss of the connection.

It holds the store's advisory lock, so nobody else writes as long as it can. A transaction whose
connection is lost is run again with the next one. If it was lost during the commit, the server is
asked first what became of it: it keeps the outcome of each transaction by its number. If another
control plane has opened the store in between, nothing is written any more.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import psycopg

from koco.errors import ConflictError, KocoError
from koco.store.engine.group_commit import Committed, Waiting
from koco.store.engine.postgres import failures, schema
from koco.store.engine.postgres.connection import Connection
from koco.store.errors import StoreError

log = logging.getLogger(__name__)

#: The store's advisory lock: the letters `koco`, as a number.
_LOCK = 0x6B6F636F
#: How long changes wait for a server that is started again, and how long between two attempts
#: (seconds).
_PATIENCE_S, _PAUSE_S = 30.0, 0.1
_BEGIN = "BEGIN; SELECT CAST(pg_current_xact_id() AS text)"


class _UnansweredError(Exception):
    """The connection was lost during a commit. `committed` counts if that succeeded."""

    def __init__(self, transaction: str, committed: Committed, cause: psycopg.Error) -> None:
        super().__init__()
        self.transaction = transaction
        self.committed = committed
        self.cause = cause


class _HeldError(psycopg.OperationalError):
    """Somebody else has the lock: perhaps this control plane's own lost connection."""


class Writer:
    """Own the writing connection, which `connect` makes."""

    def __init__(self, connect: Callable[[], Connection], *, location: str) -> None:
        self._connect = connect
        self._location = location
        self._db: Connection | None = None
        self._opened = 0

    def open(self, *, patience_s: float) -> None:
        """Connect, take the lock, and migrate the tables.

        Raises:
            ConflictError: another control plane has the lock, or a newer koco has written it.
            psycopg.Error: it cannot be opened.
        """
        db = self._connect()
        try:
            until_s = time.monotonic() + patience_s
            while not _lock(db):
                if time.monotonic() > until_s:
                    raise ConflictError(
                        f"another control plane has {self._location} open",
                        hint="`koco down` stops it; or give this one a database of its own",
                    )
                time.sleep(_PAUSE_S)
            self._opened = schema.migrate(db)
        except BaseException:
            db.close()
            raise
        self._db = db

    def close(self) -> None:
        """Give the lock back."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def commit(self, taken: list[Waiting]) -> Committed:
        """Commit changes in one transaction; return what became of each."""
        until_s = time.monotonic() + _PATIENCE_S
        unanswered: _UnansweredError | None = None
        while True:
            try:
                if unanswered is not None and self._was_committed(unanswered):
                    return unanswered.committed
                unanswered = None
                return self._transaction(taken)
            except _UnansweredError as exc:
                unanswered, cause = exc, exc.cause
            except psycopg.Error as exc:
                cause = exc
            except KocoError as exc:
                return Committed([exc] * len(taken), [])
            if not failures.is_of_connection(cause) or time.monotonic() > until_s:
                return Committed([self._failure(cause, unanswered)] * len(taken), [])
            self._lose(cause)
            time.sleep(_PAUSE_S)

    def _transaction(self, taken: list[Waiting]) -> Committed:
        """Run changes in a transaction.

        Raises:
            _UnansweredError: it may have been committed.
            psycopg.Error: it was not committed.
        """
        db = self._connected()
        db.news.clear()
        # A change that is alone needs no savepoint.
        is_alone = len(taken) == 1
        begun = db.begin(_BEGIN if is_alone else f"{_BEGIN}; SAVEPOINT change")
        begun.nextset()
        [(transaction,)] = begun.fetchall()
        results: list[Any] = []
        for each in taken:
            if results:
                db.raw.execute("RELEASE SAVEPOINT change; SAVEPOINT change")
            results.append(self._attempt(db, each, is_alone=is_alone))
        if is_alone and isinstance(results[0], BaseException):
            return Committed(results, [])
        news, db.news = db.news, []
        committed = Committed(results, news)
        try:
            ended = db.raw.execute("COMMIT")
        except psycopg.Error as exc:
            raise _UnansweredError(transaction, committed, exc) from exc
        if ended.statusmessage != "COMMIT":
            raise psycopg.InternalError(f"the transaction ended with {ended.statusmessage}")
        return committed

    def _attempt(self, db: Connection, each: Waiting, *, is_alone: bool) -> Any:
        """Return the result of a change, or its error; nothing of it is left then."""
        told = len(db.news)
        try:
            return each.change(db)
        except Exception as exc:
            is_of_server = isinstance(exc, psycopg.Error)
            if is_of_server and failures.is_of_connection(exc):
                raise
            del db.news[told:]
            db.raw.execute("ROLLBACK" if is_alone else "ROLLBACK TO SAVEPOINT change")
            if isinstance(exc, psycopg.OperationalError | psycopg.InternalError):
                return self._failure(exc, None)
            return exc

    def _was_committed(self, unanswered: _UnansweredError) -> bool:
        # With the lock, which the lost session had: so it has ended, and its transaction, too.
        row = self._connected().raw.execute(
            "SELECT pg_xact_status(CAST(%s AS xid8))", (unanswered.transaction,)
        )
        [(status,)] = row.fetchall()
        log.warning("the transaction whose commit had no answer: %s", status)
        return bool(status == "committed")

    def _connected(self) -> Connection:
        """Return the connection, or a new one with the lock if it was lost."""
        if self._db is not None:
            return self._db
        db = self._connect()
        try:
            if not _lock(db):
                raise _HeldError("another control plane has it open")
            [(opened,)] = db.raw.execute("SELECT opened FROM store").fetchall()
            if opened != self._opened:
                raise ConflictError(
                    f"another control plane has written to {self._location} meanwhile",
                    hint="`koco down`, then `koco up`: this one no longer knows what is true",
                )
        except BaseException:
            db.close()
            raise
        log.warning("connected to %s again", self._location)
        self._db = db
        return db

    def _lose(self, cause: psycopg.Error) -> None:
        if self._db is not None:
            log.warning("the connection to %s was lost: %s", self._location, cause)
            self._db.close()
            self._db = None

    def _failure(self, cause: psycopg.Error, unanswered: _UnansweredError | None) -> KocoError:
        if unanswered is None:
            return failures.translate(cause, self._location, what="the store could not be written")
        error = StoreError(
            f"{self._location} was lost during a commit, and cannot be asked what became of it:"
            f" {cause}",
            hint="look whether the change is there before you make it again",
        )
        error.__cause__ = cause
        return error


def is_locked(db: Connection) -> bool:
    """Whether some control plane has the store's lock."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND granted"
        " AND d.datname = current_database())"
    )
    [(found,)] = db.raw.execute(query, (_LOCK,)).fetchall()
    return bool(found)


def _lock(db: Connection) -> bool:
    [(has_it,)] = db.raw.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchall()
    return bool(has_it)
