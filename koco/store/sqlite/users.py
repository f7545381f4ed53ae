"""SQL for users, and for their sessions."""

import sqlite3
import time
from typing import Any

import msgspec

from koco.errors import ConflictError, NotFoundError
from koco.store.model import Session, User, UserPage

_USER = User.__struct_fields__
_SESSION = Session.__struct_fields__
_USERS = ", ".join(f"users.{name}" for name in _USER)
_SESSIONS = ", ".join(f"sessions.{name}" for name in _SESSION)


def create(db: sqlite3.Connection, user: User) -> None:
    """Add a user; see `Store.create_user`."""
    for kind in ("user", "key"):
        if db.execute(f"SELECT 1 FROM {kind}s WHERE name = ?", (user.name,)).fetchone():
            raise ConflictError(
                f"a {kind} is called {user.name!r} already",
                hint="what they do is known by their name: choose another",
            )
    fields = msgspec.structs.asdict(user)
    fields["scopes"] = " ".join(user.scopes)
    fields["flows"] = msgspec.json.encode(user.flows).decode()
    marks = ", ".join("?" * len(fields))
    db.execute(f"INSERT INTO users ({', '.join(_USER)}) VALUES ({marks})", tuple(fields.values()))


def find(db: sqlite3.Connection, name: str) -> User | None:
    """Return the user of that name; see `Store.user`."""
    row = db.execute(f"SELECT {_USERS} FROM users WHERE name = ?", (name,)).fetchone()
    return _user(row) if row else None


def listing(db: sqlite3.Connection, *, limit: int, cursor: str | None) -> UserPage:
    """Return a page of users, by name; see `Store.users`."""
    rows = db.execute(
        f"SELECT {_USERS} FROM users WHERE name > ? ORDER BY name LIMIT ?",
        (cursor or "", limit + 1),
    ).fetchall()
    items = [_user(row) for row in rows[:limit]]
    return UserPage(items, items[-1].name if len(rows) > limit else None)


def set_password(
    db: sqlite3.Connection, name: str, password: str, verified: str | None
) -> list[Session]:
    """Change a password and end the sessions of the old one; see `Store.set_password`."""
    changed = db.execute(
        "UPDATE users SET password = ? WHERE name = ? AND password = coalesce(?, password)",
        (password, name, verified),
    )
    _require_one(changed, name)
    return _end_all(db, name)


def remove(db: sqlite3.Connection, name: str) -> list[Session]:
    """Delete a user; see `Store.remove_user`."""
    ended = _end_all(db, name)
    _require_one(db.execute("DELETE FROM users WHERE name = ?", (name,)), name)
    return ended


def rehash(db: sqlite3.Connection, name: str, verified: str, password: str) -> None:
    """Replace the hash of an unchanged password; see `Store.rehash`."""
    db.execute(
        "UPDATE users SET password = ? WHERE name = ? AND password = ?", (password, name, verified)
    )


def begin(db: sqlite3.Connection, session: Session, verified: str, address: str) -> bool:
    """Begin a session; see `Store.create_session`."""
    db.execute("DELETE FROM sessions WHERE expires <= ?", (time.time(),))
    changed = db.execute(
        "UPDATE users SET last_login = ?, last_from = ? WHERE name = ? AND password = ?",
        (session.created, address, session.user, verified),
    )
    if not changed.rowcount:
        return False
    marks = ", ".join("?" * len(_SESSION))
    db.execute(
        f"INSERT INTO sessions ({', '.join(_SESSION)}) VALUES ({marks})",
        msgspec.structs.astuple(session),
    )
    return True


def session(db: sqlite3.Connection, digest: bytes) -> tuple[Session, User] | None:
    """Return a session and its user; see `Store.session`."""
    row = db.execute(
        f"SELECT {_SESSIONS}, {_USERS} FROM sessions JOIN users ON users.name = sessions.user"
        " WHERE digest = ?",
        (digest,),
    ).fetchone()
    if row is None:
        return None
    return Session(**dict(zip(_SESSION, row, strict=False))), _user(row[len(_SESSION) :])


def _require_one(changed: sqlite3.Cursor, name: str) -> None:
    if not changed.rowcount:
        raise NotFoundError(f"there is no user {name!r}", hint="`koco user list` lists them")


def _end_all(db: sqlite3.Connection, user: str) -> list[Session]:
    rows = db.execute(
        f"DELETE FROM sessions WHERE user = ? RETURNING {', '.join(_SESSION)}", (user,)
    )
    return [Session(**dict(zip(_SESSION, row, strict=True))) for row in rows]


def _user(row: tuple[Any, ...]) -> User:
    fields = dict(zip(_USER, row, strict=True))
    fields["scopes"] = tuple(fields["scopes"].split())
    fields["flows"] = tuple(msgspec.json.decode(fields["flows"]))
    fields["sees_all"] = bool(fields["sees_all"])
    return User(**fields)
