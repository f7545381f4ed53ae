"""SQL for replies that are stored by idempotency key. Changes run in the writer's thread."""

import sqlite3

import msgspec

from koco.store.model import Reply

#: How long a reply is kept (seconds).
KEPT_S = 24 * 3600.0

_COLUMNS = ", ".join(Reply.__struct_fields__)


def keep(db: sqlite3.Connection, reply: Reply) -> None:
    """Store a reply, and delete expired ones; see `Store.keep_reply`."""
    db.execute("DELETE FROM replies WHERE created < ?", (reply.created - KEPT_S,))
    values = msgspec.structs.astuple(reply)
    marks = ", ".join("?" * len(values))
    db.execute(f"REPLACE INTO replies ({_COLUMNS}) VALUES ({marks})", values)


def get(db: sqlite3.Connection, user: str, key: str, *, now: float) -> Reply | None:
    """Return a stored reply; see `Store.reply`."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM replies WHERE user = ? AND key = ? AND created >= ?",
        (user, key, now - KEPT_S),
    ).fetchone()
    return Reply(*row) if row else None
