"""SQL for keys. Changes run in the writer's thread, each as one transaction."""

import sqlite3
import time
from typing import Any

import msgspec

from koco.errors import ConflictError, NotFoundError
from koco.store.model import Key, KeyPage

_COLUMNS = ", ".join(Key.__struct_fields__)
#: Whether a key is an admin's and never expires. At least one such key must always exist.
_IS_LASTING = "' ' || scopes || ' ' LIKE '% admin %' AND expires IS NULL"


def put(db: sqlite3.Connection, key: Key) -> None:
    """Store a key; see `Store.put_key`."""
    fields = msgspec.structs.asdict(key)
    fields["scopes"] = " ".join(key.scopes)
    fields["flows"] = msgspec.json.encode(key.flows).decode()
    marks = ", ".join("?" * len(fields))
    db.execute(f"REPLACE INTO keys ({_COLUMNS}) VALUES ({marks})", tuple(fields.values()))


def add(db: sqlite3.Connection, key: Key) -> None:
    """Add a key; see `Store.add_key`."""
    if db.execute("SELECT 1 FROM keys WHERE name = ?", (key.name,)).fetchone():
        raise ConflictError(
            f"there is a key {key.name!r} already",
            hint=f"`koco key rotate {key.name}` gives it a new secret",
        )
    if db.execute("SELECT 1 FROM users WHERE name = ?", (key.name,)).fetchone():
        raise ConflictError(
            f"there is a user {key.name!r} already",
            hint="keys and users have their names from one set: what is whose goes by them",
        )
    put(db, key)


def rotate(
    db: sqlite3.Connection,
    name: str,
    digest: bytes,
    *,
    former_until: float | None,
    expires: float | None,
) -> Key:
    """Replace a key's digest; see `Store.rotate_key`."""
    old = get(db, name)
    if expires is None:
        expires = old.expires
    elif old.expires is None:
        _require_another(db, old, "be replaced by one that expires")
    if expires is not None and expires <= time.time():
        raise ConflictError(
            f"the key {name!r} has expired: a new secret would be good for nothing",
            hint=f"`koco key rotate {name} --expires 30d` gives it more time",
        )
    former = old.digest if former_until is not None else None
    new = {"digest": digest, "former": former, "former_until": former_until, "expires": expires}
    put(db, msgspec.structs.replace(old, **new))
    return get(db, name)


def revoke(db: sqlite3.Connection, name: str) -> Key:
    """Delete a key; see `Store.revoke_key`."""
    key = get(db, name)
    _require_another(db, key, "be revoked")
    db.execute("DELETE FROM keys WHERE name = ?", (name,))
    return key


def used(db: sqlite3.Connection, name: str, *, at: str, address: str) -> None:
    """Record a use; see `Store.note_use`."""
    db.execute("UPDATE keys SET last_used = ?, last_from = ? WHERE name = ?", (at, address, name))


def find(db: sqlite3.Connection, digest: bytes) -> Key | None:
    """Return the key with that digest; see `Store.key`."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM keys WHERE digest = ? OR former = ?", (digest, digest)
    ).fetchone()
    return _key(row) if row else None


def get(db: sqlite3.Connection, name: str) -> Key:
    """Return the key of that name; see `Store.key_named`."""
    row = db.execute(f"SELECT {_COLUMNS} FROM keys WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no key {name!r}", hint="`koco key list` lists them")
    return _key(row)


def listing(db: sqlite3.Connection, *, limit: int, cursor: str | None) -> KeyPage:
    """Return a page of keys, by name; see `Store.keys`."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM keys WHERE name > ? ORDER BY name LIMIT ?",
        (cursor or "", limit + 1),
    ).fetchall()
    items = [_key(row) for row in rows[:limit]]
    return KeyPage(items, items[-1].name if len(rows) > limit else None)


def _require_another(db: sqlite3.Connection, key: Key, what: str) -> None:
    """Refuse to lose the last key that can always make others."""
    lasting = [row[0] for row in db.execute(f"SELECT name FROM keys WHERE {_IS_LASTING}")]
    if lasting == [key.name]:
        raise ConflictError(
            f"{key.name!r} is the last admin key that does not expire: it cannot {what}",
            hint="`koco key create NAME --scope admin` makes another one first",
        )


def _key(row: tuple[Any, ...]) -> Key:
    fields = dict(zip(Key.__struct_fields__, row, strict=True))
    fields["scopes"] = tuple(fields["scopes"].split())
    fields["flows"] = tuple(msgspec.json.decode(fields["flows"]))
    fields["sees_all"] = bool(fields["sees_all"])
    return Key(**fields)
