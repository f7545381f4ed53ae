"""The connection that writes: changes in transactions, which survive the loss of the connection.

Its right says by which locks nobody else writes meanwhile. A transaction whose connection is lost
is run again with the next one. If it was lost during the commit, the server is asked first what
became of it: it keeps the outcome of each transaction by its number. If another control plane has
opened the store in between, or leads it now, nothing is written any more.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus

from koco.errors import KocoError
from koco.store.engine.group_commit import Committed, Waiting
from koco.store.engine.postgres import failures
from koco.store.engine.postgres.connection import Connection
from koco.store.engine.postgres.rights import Right, turn
from koco.store.engine.postgres.wires import Lasting
from koco.store.errors import DeposedError, StoreError

log = logging.getLogger(__name__)

#: How long changes wait for a server that is started again, and how long between two attempts
#: (seconds).
_PATIENCE_S, _PAUSE_S = 30.0, 0.1


#: What became of a transaction. One whose number this server has not given yet was of a server
#: that failed before it had sent the transaction here.
_STATUS = """
    SELECT CASE WHEN CAST(%(number)s AS xid8) >= pg_snapshot_xmax(pg_current_snapshot())
        THEN 'never begun here' ELSE pg_xact_status(CAST(%(number)s AS xid8)) END
"""


class _UnansweredError(Exception):
    """The connection was lost during a commit. `committed` counts if that succeeded."""

    def __init__(self, transaction: str, committed: Committed, cause: psycopg.Error) -> None:
        super().__init__()
        self.transaction = transaction
        self.committed = committed
        self.cause = cause


class Writer:
    """Own the writing connection, which `connect` makes.

    `ending` returns the statements that end a transaction, with what it tells other processes.
    `on_deposed` is called once, in the thread that notices it, and `on_moved` when it has found
    another server that takes changes, because the former one takes none any more.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        right: Right,
        *,
        location: str,
        ending: Callable[[Connection], str] = lambda db: "COMMIT",
        on_deposed: Callable[[], None] = lambda: None,
        on_moved: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._right = right
        self._location = location
        self._ending = ending
        self._on_deposed = on_deposed
        self._lasting = Lasting(connect, renew=self._renew, on_moved=on_moved)
        #: Held while the connection is used.
        self._use = threading.Lock()
        self._deposing = threading.Lock()
        self._deposed: DeposedError | None = None

    def open(self) -> None:
        """Connect, take the locks, and migrate the tables.

        Raises:
            ConflictError: another control plane has it, or a newer koco has written it.
            psycopg.Error: it cannot be opened.
        """
        db = self._connect()
        try:
            self._right.enter(db)
        except BaseException:
            db.close()
            raise
        self._lasting.keep(db)

    def adopt(self, right: Right) -> None:
        """Write by another right from now on."""
        with self._use:
            self._right = right

    def depose(self, why: DeposedError) -> None:
        """Write nothing any more. Whoever waits for the server gets this error."""
        with self._deposing:
            is_first, self._deposed = self._deposed is None, self._deposed or why
        if is_first:
            self._on_deposed()
        self._lasting.cut()

    @property
    def deposed(self) -> DeposedError | None:
        """Why it may not write any more, or None."""
        return self._deposed

    def close(self) -> None:
        """Give the locks back."""
        with self._use:
            self._lasting.drop()

    def commit(self, taken: list[Waiting]) -> Committed:
        """Commit changes in one transaction; return what became of each."""
        until_s = time.monotonic() + _PATIENCE_S
        unanswered: _UnansweredError | None = None
        while True:
            try:
                with self._using():
                    if unanswered is not None and self._was_committed(unanswered):
                        return unanswered.committed
                    unanswered = None
                    return self._transaction(taken)
            except _UnansweredError as exc:
                unanswered, cause = exc, exc.cause
            except psycopg.Error as exc:
                cause = exc
            except KocoError as exc:
                if isinstance(exc, DeposedError):
                    self.depose(exc)
                return Committed([exc] * len(taken), [])
            if not failures.is_of_connection(cause) or time.monotonic() > until_s:
                return Committed([self._failure(cause, unanswered)] * len(taken), [])
            self._note_lost(cause)
            time.sleep(_PAUSE_S)

    def _transaction(self, taken: list[Waiting]) -> Committed:
        """Run changes in a transaction.

        Raises:
            _UnansweredError: it may have been committed.
            DeposedError: another process leads.
            psycopg.Error: it was not committed.
        """
        if self._deposed is not None:
            raise self._deposed
        db = self._lasting.connected()
        db.news.clear()
        db.touched.clear()
        db.leads = self._right.leads
        # A change that is alone needs no savepoint.
        is_alone = len(taken) == 1
        transaction = self._begun(db, "" if is_alone else "; SAVEPOINT change")
        results: list[Any] = []
        for each in taken:
            if results:
                db.raw.execute("RELEASE SAVEPOINT change; SAVEPOINT change")
            results.append(self._attempt(db, each, is_alone=is_alone))
        if is_alone and isinstance(results[0], BaseException):
            return Committed(results, [])
        news, committing = db.news, self._ending(db)
        db.news = []
        committed = Committed(results, news)
        try:
            ended = db.raw.execute(cast(Any, committing), prepare=False)
            while ended.nextset():
                pass
        except psycopg.Error as exc:
            if not failures.is_of_connection(exc):
                raise
            raise _UnansweredError(transaction, committed, exc) from exc
        if ended.statusmessage != "COMMIT":
            raise psycopg.InternalError(f"the transaction ended with {ended.statusmessage}")
        return committed

    def _begun(self, db: Connection, then: str) -> str:
        """Begin a transaction; return its number."""
        begun = db.begin(self._right.begin + then)
        for _ in range(self._right.skipped):
            begun.nextset()
        [row] = begun.fetchall()
        try:
            self._right.check(row)
        except KocoError:
            db.raw.execute("ROLLBACK")
            raise
        return str(row[0])

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
        """Ask what became of a transaction, once it is certainly over."""
        values = {"number": unanswered.transaction}
        if not self._right.is_shared:
            rows = self._lasting.connected().raw.execute(_STATUS, values).fetchall()
        else:
            # Also a process that no longer leads asks: it may have led when it committed.
            with closing(self._connect()) as db, turn(db):  # the lost transaction had its turn
                rows = db.raw.execute(_STATUS, values).fetchall()
        [(status,)] = rows
        log.warning("the transaction whose commit had no answer: %s", status)
        return bool(status == "committed")

    def _renew(self, db: Connection) -> None:
        self._right.renew(db)
        log.warning("connected to %s again", self._location)

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Keep the connection from being replaced. Drop it if a failure leaves it useless."""
        with self._use:
            try:
                yield
            except BaseException:
                if (db := self._lasting.db) is not None and (
                    db.is_lost or db.raw.info.transaction_status is not TransactionStatus.IDLE
                ):
                    self._lasting.drop()
                raise

    def _note_lost(self, cause: psycopg.Error) -> None:
        self._lasting.note_lost(cause)
        if not failures.is_down(cause):
            log.warning("the connection to %s was lost: %s", self._location, cause)

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
