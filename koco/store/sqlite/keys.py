"""SQL for keys."""

import sqlite3
from typing import Any

import msgspec

from koco.store.model import Key

_COLUMNS = ", ".join(Key.__struct_fields__)


def put(db: sqlite3.Connection, key: Key) -> None:
    """Keep a key; see `Store.put_key`."""
    fields = msgspec.structs.asdict(key)
    fields["scopes"] = " ".join(key.scopes)
    fields["flows"] = msgspec.json.encode(key.flows).decode()
    marks = ", ".join("?" * len(fields))
    db.execute(f"REPLACE INTO keys ({_COLUMNS}) VALUES ({marks})", tuple(fields.values()))


def find(db: sqlite3.Connection, digest: bytes) -> Key | None:
    """Return the key with that digest; see `Store.key`."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM keys WHERE digest = ? OR former = ?", (digest, digest)
    ).fetchone()
    return _key(row) if row else None


def _key(row: tuple[Any, ...]) -> Key:
    fields = dict(zip(Key.__struct_fields__, row, strict=True))
    fields["scopes"] = tuple(fields["scopes"].split())
    fields["flows"] = tuple(msgspec.json.decode(fields["flows"]))
    fields["sees_all"] = bool(fields["sees_all"])
    return Key(**fields)
