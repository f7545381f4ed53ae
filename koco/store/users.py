"""Users, who log in with a password, and their sessions."""

import time
from collections.abc import Callable
from typing import Any

from koco.errors import ConflictError, NotFoundError
from koco.store.engine.protocol import Connection
from koco.store.model import Page, Session, Topic, User
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table, columns
from koco.store.stream import ledger, outbox

_USERS = Table("users", User, key=("name",), json=("scopes", "flows"))
_SESSIONS = Table("sessions", Session, key=("digest",))
_NAMED = "WHERE name = :name"
_OF_DIGEST = "WHERE digest = :digest"
_VERIFIED = f"{_NAMED} AND password = :verified"
#: The columns of a session and of its user.
_BOTH = f"{columns(_SESSIONS.names, of='sessions.')}, {columns(_USERS.names, of='users.')}"


class Users(Repository):
    """Users by name, and sessions by digest."""

    async def add(self, user: User) -> None:
        """Add a user.

        Raises:
            ConflictError: a user or a key has that name.
        """
        await self._write(lambda db: _add(db, user))

    async def find(self, name: str) -> User | None:
        """Return the user of that name."""
        return await self._read(lambda db: _USERS.first(db, _NAMED, name=name))

    async def get(self, name: str) -> User:
        """Return the user of that name.

        Raises:
            NotFoundError: there is no such user.
        """
        return await self._read(lambda db: _get(db, name))

    async def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[User]:
        """Return a page of users, by name. A cursor stays valid while users change."""
        after, by_name = cursor or "", "WHERE name > :after ORDER BY name"
        return await self._read(
            lambda db: _USERS.page(db, limit, lambda user: user.name, by_name, after=after)
        )

    async def exist(self) -> bool:
        """Whether there are any users."""
        return await self._read(_USERS.any)

    async def set_password(
        self, name: str, password: str, *, verified: str | None = None
    ) -> list[Session]:
        """Set the hash of a user's new password; return the sessions that this ended.

        With `verified`, only if that is still the hash of the old password.

        Raises:
            NotFoundError: there is no such user.
        """
        where = f"{_NAMED} AND password = coalesce(:verified, password)"

        def change(db: Connection) -> list[Session]:
            new = {"password": password}
            _require_one(_USERS.update(db, where, new, name=name, verified=verified), name)
            return _end_all(db, name)

        return await self._write(change)

    async def rehash(self, name: str, *, verified: str, password: str) -> None:
        """Replace the hash of an unchanged password, if it is still the one that was verified."""
        new = {"password": password}
        await self._write(
            lambda db: _USERS.update(db, _VERIFIED, new, name=name, verified=verified)
        )

    async def change(self, name: str, revise: Callable[[User], User]) -> tuple[User, list[Session]]:
        """Replace a user by a revised one; return it, and the sessions whose rights have changed.

        If the user is not active afterwards, these sessions have ended, and the user's webhooks
        are disabled.

        Raises:
            NotFoundError: there is no such user. And whatever `revise` raises.
        """

        def change(db: Connection) -> tuple[User, list[Session]]:
            former = _get(db, name)
            user = revise(former)
            _USERS.put(db, user)
            if not user.active:
                outbox.disable_all(db, name)
            if _rights(user) == _rights(former):
                return user, []
            of_user = 'WHERE "user" = :user'
            if not user.active:
                return user, _end_all(db, name)
            held = _SESSIONS.select(db, of_user, user=name)
            _tell(db, held)
            return user, held

        return await self._write(change)

    async def remove(self, name: str) -> list[Session]:
        """Delete a user and disable the user's webhooks; return the sessions that this ended.

        Raises:
            NotFoundError: there is no such user.
        """

        def change(db: Connection) -> list[Session]:
            ended = _end_all(db, name)
            _require_one(_USERS.delete(db, _NAMED, name=name), name)
            outbox.disable_all(db, name)
            return ended

        return await self._write(change)

    async def begin_session(self, session: Session, *, verified: str, address: str) -> bool:
        """Begin a session of a user whose password's hash is `verified`; delete expired ones.

        False if the password has changed since, or the user was removed or is not active.
        """

        def change(db: Connection) -> bool:
            _SESSIONS.delete(db, "WHERE expires <= :now", now=time.time())
            login = {"last_login": session.created, "last_from": address}
            is_active = f"{_VERIFIED} AND active = 1"
            if not _USERS.update(db, is_active, login, name=session.user, verified=verified):
                return False
            _SESSIONS.insert(db, session)
            return True

        return await self._write(change)

    async def find_session(self, digest: bytes) -> tuple[Session, User] | None:
        """Return the session with that SHA-256, and its user. It may have expired."""
        query = (
            f'SELECT {_BOTH} FROM sessions JOIN users ON users.name = sessions."user"'
            " WHERE digest = :digest"
        )

        def look(db: Connection) -> tuple[Session, User] | None:
            row: tuple[Any, ...] | None = db.execute(query, {"digest": digest}).fetchone()
            if row is None:
                return None
            end = len(_SESSIONS.names)
            return _SESSIONS.read(row[:end]), _USERS.read(row[end:])

        return await self._read(look)

    async def end_session(self, digest: bytes) -> None:
        """End a session. A missing one is not an error."""

        def change(db: Connection) -> None:
            _tell(db, _SESSIONS.select(db, _OF_DIGEST, digest=digest))
            _SESSIONS.delete(db, _OF_DIGEST, digest=digest)

        await self._write(change)


def _add(db: Connection, user: User) -> None:
    for kind in ("user", "key"):
        named = f"SELECT 1 FROM {kind}s WHERE name = :name"
        if db.execute(named, {"name": user.name}).fetchone():
            raise ConflictError(
                f"a {kind} is called {user.name!r} already",
                hint="keys and users are known by their names: choose another",
            )
    _USERS.insert(db, user)


def _get(db: Connection, name: str) -> User:
    user = _USERS.first(db, _NAMED, name=name)
    if user is None:
        raise _missing(name)
    return user


def _rights(user: User) -> tuple[object, ...]:
    return user.active, user.scopes, user.flows, user.sees_all


def _require_one(changed: int, name: str) -> None:
    if not changed:
        raise _missing(name)


def _missing(name: str) -> NotFoundError:
    return NotFoundError(f"there is no user {name!r}", hint="`koco user list` lists them")


def _end_all(db: Connection, user: str) -> list[Session]:
    delete = f'DELETE FROM sessions WHERE "user" = :user RETURNING {_SESSIONS.columns}'
    ended = [_SESSIONS.read(row) for row in db.execute(delete, {"user": user}).fetchall()]
    _tell(db, ended)
    return ended


def _tell(db: Connection, sessions: list[Session]) -> None:
    for each in sessions:
        ledger.tell(db, Topic.ACCESS, key=each.credential)
