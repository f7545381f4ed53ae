"""Notice a proxy that gives a client another session of the server for each transaction.

Advisory locks, notifications and prepared statements are of a session, so with such a proxy they
fail without an error, and settings reach sessions of others. A server tells each client the process
of its session, and a proxy tells a number of its own instead: only then there is more to ask.
"""

import select
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import ExecStatus

#: How long a proxy may take to give a session to a connection (seconds).
_PATIENCE_S = 10.0
#: How often both connections ask. A pool that nobody else uses shows itself at once.
_ROUNDS = 4


class PooledError(psycopg.NotSupportedError):
    """A proxy in between gives sessions of the server to others after each transaction."""


class NoSessionError(psycopg.OperationalError):
    """A proxy in between has no session of the server left."""


def backend_of(
    raw: "psycopg.Connection[Any]", another: Callable[[], "psycopg.Connection[Any]"]
) -> int:
    """Return the process of the server that a new connection has for as long as it lives.

    `another` makes a second connection, for a moment, if there is a proxy in between.

    Raises:
        PooledError: there is none that it keeps.
        NoSessionError: a proxy has no session left.
    """
    backend = _backend(raw)
    if backend == raw.info.backend_pid:
        return backend
    with closing(another()) as other:
        for _ in range(_ROUNDS):
            if _backend(other) == backend or _backend(raw) != backend:
                raise PooledError(
                    "a proxy in between gives sessions of the server to others after each"
                    " transaction"
                )
    return backend


def _backend(raw: "psycopg.Connection[Any]") -> int:
    """Ask for the process that serves this transaction. A proxy may let that wait for minutes."""
    pg = raw.pgconn
    readable = select.poll()
    readable.register(pg.socket, select.POLLIN)
    until_s = time.monotonic() + _PATIENCE_S
    pg.send_query(b"SELECT pg_backend_pid()")
    pg.flush()
    while pg.is_busy():
        if not readable.poll(max(0.0, until_s - time.monotonic()) * 1000):
            raise NoSessionError("a proxy in between has no session of the server left")
        pg.consume_input()
    found = pg.get_result()
    if found is None or found.status != ExecStatus.TUPLES_OK:
        raise _lost(found)
    while pg.get_result() is not None:
        pass
    return int(found.get_value(0, 0) or b"0")


def _lost(found: Any) -> psycopg.Error:
    if found is None:
        return psycopg.OperationalError("the connection is lost")
    return errors.error_from_result(found)
