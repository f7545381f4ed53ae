"""Turn errors of PostgreSQL into errors of the store, each with a place and a hint."""

import psycopg
from psycopg import errors

from koco.errors import KocoError, NoRoomError
from koco.store.engine.postgres.pooling import NoSessionError, PooledError
from koco.store.errors import AwayError, DamagedError, StoreError

_CONNECTIONS = (
    "each process of the control plane needs up to twelve connections: raise max_connections, or"
    " the limit of this user or database"
)
_POOL = (
    "each process of the control plane needs up to twelve connections, each with a session of its"
    " own: raise the proxy's pool (PgBouncer: default_pool_size), or name the server itself"
)
#: What servers say to those who connect, and what helps. libpq has no codes for that.
_REFUSALS = {
    "password authentication failed": "check its line in ~/.pgpass on the head",
    "no password supplied": "put it in ~/.pgpass on the head, as HOST:PORT:DATABASE:USER:PASSWORD;"
    " this file, or the one of `passfile`, counts only if nobody else may read it: mode 0600",
    "no pg_hba.conf entry": "the server's pg_hba.conf must let this user in from here",
    "session is read-only": "name the server that takes changes, not one that follows it",
    "starting up": "it is starting: try again in a moment",
    "too many connections": _CONNECTIONS,
    "too many clients": _CONNECTIONS,
    "remaining connection slots": _CONNECTIONS,
    "not permitted to log in": "`ALTER ROLE … LOGIN` permits it",
    "query_wait_timeout": _POOL,
    "could not translate host name": "check the name of the host in `--store`",
}


def is_of_connection(exc: BaseException) -> bool:
    """Whether the connection is the reason for an error, so that another one may help."""
    if isinstance(exc, errors.IdleInTransactionSessionTimeout):
        return True  # this process stood still in a transaction, and the server ended the session
    if is_read_only(exc):
        return True
    if not isinstance(exc, psycopg.OperationalError):
        return False
    state = exc.sqlstate or ""
    return not state or state.startswith(("08", "57P"))


def is_read_only(exc: BaseException) -> bool:
    """Whether the server takes no changes any more: perhaps another one does, or it soon will."""
    return isinstance(exc, errors.ReadOnlySqlTransaction)


def is_down(exc: BaseException) -> bool:
    """Whether no server answers at a place that is reached, so that nobody else has one either."""
    if not isinstance(exc, psycopg.OperationalError):
        return False
    return isinstance(exc, errors.CannotConnectNow) or any(
        said in str(exc) for said in ("Connection refused", "starting up", "shutting down")
    )


def translate(exc: psycopg.Error, location: str, *, what: str) -> KocoError:
    """Return the store's error for one of PostgreSQL. Its message begins with `what`."""
    text = _text(exc)
    error: KocoError
    if isinstance(exc, errors.DiskFull):
        error = NoRoomError(
            f"the disk of PostgreSQL is full: {text}",
            hint="make room on the disk of its server, or delete executions (`koco delete`)",
        )
    elif isinstance(exc, errors.DataCorrupted | errors.IndexCorrupted):
        error = DamagedError(
            f"the store is damaged: {location}: {text}",
            hint="`koco down`, and restore a backup of the database",
        )
    else:
        kind = AwayError if is_of_connection(exc) else StoreError
        error = kind(f"{what}: {location}: {text}", hint=_hint(exc, text))
    error.__cause__ = exc
    return error


def _hint(exc: psycopg.Error, text: str) -> str:
    for said, hint in _REFUSALS.items():
        if said in text:
            return hint
    if isinstance(exc, PooledError):
        return (
            "name the server itself in `--store`, or let the proxy keep a session for each client"
            " (PgBouncer: pool_mode = session): locks and notifications are of a session"
        )
    if isinstance(exc, NoSessionError):
        return _POOL
    if "does not exist" in text and "database" in text:
        return "`createdb` makes one; koco makes its tables in it"
    if isinstance(exc, errors.InsufficientPrivilege):
        if "schema koco" in text or "table" in text:
            return (
                "the store there is of another user: connect as that one, who can also"
                " `ALTER SCHEMA koco RENAME TO …`, or use another database"
            )
        return "the user must own the database, or have CREATE on it, or own a schema `koco` in it"
    if is_read_only(exc):
        return _REFUSALS["session is read-only"]
    if is_of_connection(exc):
        return "check that the server runs and that this machine reaches it"
    return "the server's log has the details"


def _text(exc: psycopg.Error) -> str:
    """Return an error's text in one line: of several attempts to connect, the last."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    if exc.diag.message_primary:
        return exc.diag.message_primary
    failed = [line for line in lines if "failed:" in line]
    return (failed or lines or [type(exc).__name__])[-1].removeprefix("- ")
