"""The tables of a shared store with its processes and its leader. They hold nothing that lasts."""

import os
import socket
from datetime import datetime
from typing import Any, NamedTuple, cast

from koco import __version__
from koco.store.engine import protocol
from koco.store.engine.postgres import schema
from koco.store.engine.postgres.connection import Connection
from koco.store.engine.postgres.rights import LEADING, WRITING, turn
from koco.store.members import Leader, Member

_TABLES = """
    CREATE TABLE IF NOT EXISTS koco.members (
        name text PRIMARY KEY, url text NOT NULL, node text NOT NULL, pid bigint NOT NULL,
        version text NOT NULL, started timestamptz NOT NULL, backend integer NOT NULL,
        connected timestamptz NOT NULL
    );
    CREATE TABLE IF NOT EXISTS koco.leader (
        one bigint PRIMARY KEY DEFAULT 1 CHECK (one = 1), epoch bigint NOT NULL,
        member text NOT NULL, url text NOT NULL, backend integer NOT NULL,
        renewed timestamptz NOT NULL
    );
    CREATE OR REPLACE FUNCTION koco.await_lock(wanted bigint, most_ms bigint) RETURNS boolean
        LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('lock_timeout', CAST(most_ms AS text), true);
        PERFORM pg_advisory_lock(wanted);
        RETURN true;
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END $$;
"""
_REGISTER = """
    INSERT INTO koco.members
        SELECT %(name)s, %(url)s, %(node)s, %(pid)s, %(version)s, coalesce(%(started)s, now()),
            pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()
        ON CONFLICT (name) DO UPDATE SET url = excluded.url, node = excluded.node,
            pid = excluded.pid, version = excluded.version, started = excluded.started,
            backend = excluded.backend, connected = excluded.connected
        RETURNING started
"""
_ANNOUNCE = "UPDATE members SET url = :url, node = :node WHERE name = :name"
_MEMBERS = """
    SELECT m.name, m.url, m.node, m.pid, m.version,
        to_char(m.started AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        FROM members m JOIN pg_stat_activity a ON a.pid = m.backend
        AND a.backend_start = m.connected ORDER BY m.name
"""
_AGE = "CAST(extract(epoch FROM clock_timestamp() - {}) AS double precision)"
_LEADER = f"SELECT epoch, member, url, {_AGE.format('renewed')} FROM leader"
_CROWN = """
    INSERT INTO leader (epoch, member, url, backend, renewed)
        VALUES (%s, %s, %s, pg_backend_pid(), clock_timestamp())
        ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, member = excluded.member,
            url = excluded.url, backend = excluded.backend, renewed = excluded.renewed
"""
_RENEW = (
    "UPDATE leader SET renewed = clock_timestamp(), backend = pg_backend_pid() WHERE epoch = :epoch"
)
#: Who has the lock, and since when it does nothing. A server that does not keep track of that still
#: knows the claim.
_HOLDER = f"""
    SELECT a.pid, a.backend_start, a.state = 'active' AND coalesce(wait_event_type, '') <> 'Client',
        coalesce({_AGE.format("a.state_change")}, {_AGE.format("l.renewed")}, 0)
        FROM pg_locks k JOIN pg_database d ON d.oid = k.database
        JOIN pg_stat_activity a ON a.pid = k.pid LEFT JOIN leader l ON true
        WHERE k.locktype = 'advisory' AND k.classid = 0 AND k.objid = {LEADING} AND k.granted
        AND d.datname = current_database()
"""
_END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid = %s AND backend_start = %s
"""
#: Ends the transaction that keeps all others from writing if its process does not read what the
#: server sends: that of the former leader, perhaps, which stands still. One that does nothing in a
#: transaction loses its session anyway.
_END_UNREAD = f"""
    SELECT pg_terminate_backend(a.pid) FROM pg_locks k
        JOIN pg_database d ON d.oid = k.database JOIN pg_stat_activity a ON a.pid = k.pid
        WHERE k.locktype = 'advisory' AND k.classid = 0 AND k.objid = {WRITING} AND k.granted
        AND d.datname = current_database() AND a.state = 'active' AND a.wait_event_type = 'Client'
        AND clock_timestamp() - a.state_change > make_interval(secs => %s)
"""


class Holder(NamedTuple):
    """A session that has the leader's lock."""

    backend: int
    began: datetime
    #: Whether the server works for it, or keeps it waiting.
    is_busy: bool
    #: How long it has done nothing (seconds). A leader renews its claim each second.
    idle_s: float


class Identity:
    """What this process says of itself in `members`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = ""
        self.node = socket.gethostname()
        self._started: Any = None

    def register(self, db: Connection) -> None:
        """Enter this process, for as long as this connection lives."""
        row = {"name": self.name, "url": self.url, "node": self.node, "pid": os.getpid()}
        values = {**row, "version": __version__, "started": self._started}
        [(self._started,)] = db.raw.execute(cast(Any, _REGISTER), values).fetchall()

    def announce(self, db: protocol.Connection) -> None:
        """Enter where this process is reached."""
        db.execute(_ANNOUNCE, {"url": self.url, "node": self.node, "name": self.name})


def prepare(db: Connection) -> None:
    """Make the tables if they are missing."""
    with turn(db):
        db.raw.execute(cast(Any, _TABLES))


def crown(db: Connection, name: str, url: str) -> int:
    """Make this process, which has the lock, the leader; return its epoch."""
    with turn(db):
        epoch = schema.migrate(db)
        db.raw.execute(_CROWN, (epoch, name, url))
    return epoch


def await_lead(db: Connection, most_s: float) -> bool:
    """Wait for the leader's lock in the server's queue; False if it takes longer.

    A statement that waits for very long would keep the server from removing old rows, those of
    all tables, because it might yet see them.
    """
    query = "SELECT koco.await_lock(%s, %s)"
    [(has_it,)] = db.raw.execute(query, (LEADING, int(most_s * 1000))).fetchall()
    return bool(has_it)


def holder(db: Connection) -> Holder | None:
    """Return who has the leader's lock."""
    row = db.raw.execute(cast(Any, _HOLDER)).fetchone()
    return None if row is None else Holder(*row)


def end(db: Connection, found: Holder, *, unread_s: float) -> None:
    """End a session, and a transaction whose process has not read for some time."""
    db.raw.execute(_END, (found.backend, found.began))
    db.raw.execute(cast(Any, _END_UNREAD), (unread_s,))


def renew(db: Connection, epoch: int) -> bool:
    """Renew a leader's claim; False if another process leads."""
    return db.execute(_RENEW, {"epoch": epoch}).rowcount > 0


def epoch(db: protocol.Connection) -> int:
    """Return the epoch of the latest leader."""
    return int(db.execute("SELECT opened FROM store").fetchone()[0])


def leader(db: protocol.Connection) -> Leader | None:
    """Return the latest leader."""
    row = db.execute(_LEADER).fetchone()
    return None if row is None else Leader(epoch=row[0], member=row[1], url=row[2], age_s=row[3])


def members(db: protocol.Connection) -> list[Member]:
    """Return the processes that are connected."""
    return [
        Member(name=name, url=url, node=node, pid=pid, version=version, started=started)
        for name, url, node, pid, version, started in db.execute(_MEMBERS).fetchall()
    ]
