"""Users: people who log in with a name and a password. A new control plane has none."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from koco.control.access import passwords
from koco.control.access.caller import owner_of
from koco.control.access.login_throttle import Attempts
from koco.control.access.passwords import Passwords
from koco.control.access.scopes import check_email, check_name, check_rights
from koco.errors import ConflictError, NotAllowedError, NotFoundError, UsageError
from koco.events import line
from koco.store.model import Session, User
from koco.store.store import Store

log = logging.getLogger(__name__)

#: The name of the key that `koco up` creates, and creates again for recovery (`Keys.admit`).
_FIRST = "admin"
#: The same message for an unknown user and a wrong password, because it must not reveal which users
#: exist.
WRONG = "the name or the password is wrong"


class UserChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of a user. `UNSET` leaves a value as it is."""

    active: bool | UnsetType = UNSET
    email: str | UnsetType = UNSET
    scopes: tuple[str, ...] | UnsetType = UNSET
    flows: tuple[str, ...] | UnsetType = UNSET
    sees_all: bool | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        """Return the changed values by the name of their column."""
        given: dict[str, Any] = msgspec.structs.asdict(self)
        return {name: value for name, value in given.items() if value is not UNSET}

    def take_access_from(self, user: User) -> bool:
        """Whether a user who is an admin would no longer be one, or no longer be active."""
        return self.active is False or (
            "admin" in user.scopes and self.scopes is not UNSET and "admin" not in self.scopes
        )

    def apply_to(self, user: User) -> User:
        """Return a user with these changes.

        Raises:
            UsageError: a scope, a flow or the e-mail address is invalid.
        """
        new = msgspec.structs.replace(user, **self.given())
        scopes, flows = check_rights(new.scopes, new.flows)
        check_email(new.email)
        sees_all = new.sees_all or "admin" in scopes
        return msgspec.structs.replace(new, scopes=scopes, flows=flows, sees_all=sees_all)


class Users:
    """The users of one control plane; every change of a user goes through here."""

    def __init__(
        self,
        store: Store,
        hashing: Passwords,
        attempts: Attempts,
        *,
        end: Callable[[str], None] = lambda _: None,
        forget: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._hashing = hashing
        self._attempts = attempts
        #: Called with the credential of each session that has ended.
        self._end = end
        #: Called with the owner that a user no longer is: see `owner_of`.
        self._forget = forget

    async def create(
        self,
        name: str,
        password: str,
        *,
        by: str,
        scopes: Iterable[str],
        flows: Iterable[str] = (),
        sees_all: bool = False,
        email: str = "",
    ) -> User:
        """Create a user.

        Raises:
            UsageError: the name, the password, a scope, a flow or the e-mail address is invalid.
            ConflictError: a user or a key has that name.
        """
        check_name(name, what="user")
        if name == _FIRST:
            # If that key is created again later, its executions would belong to this user.
            raise UsageError(
                f"{name!r} is the name of the key that `koco up` makes", hint="choose another name"
            )
        scopes, flows = check_rights(scopes, flows)
        check_email(email)
        self._hashing.require_turn()
        user = User(
            name=name,
            password=await self._hashing.hash(passwords.normalize(password)),
            scopes=scopes,
            created=line.timestamp(),
            by=by,
            flows=flows,
            sees_all=sees_all or "admin" in scopes,
            email=email,
        )
        await self._store.users.add(user)
        log.info("the user %r was made by %r: %s", name, by, ", ".join(scopes))
        return user

    async def verified(self, name: str, password: str, *, address: str) -> User | None:
        """Return the user with that name and password, or None if one of them is wrong.

        Raises:
            TooManyError: there were too many failures lately, of that name or from that address.
        """
        self._hashing.require_turn()
        self._attempts.check(address=address, name=name)
        user = await self._store.users.find(name)
        is_right = await self._hashing.verify(user.password if user else None, password)
        if user is None or not is_right:
            return None
        self._attempts.passed(address=address, name=name)
        return user

    async def set_password(self, name: str, password: str) -> None:
        """Set a user's password. Sessions that were begun with the old one end at once.

        Raises:
            UsageError: the password is too short or too long.
            NotFoundError: there is no such user.
        """
        self._hashing.require_turn()
        await self._replace(name, password)

    async def change_password(self, name: str, old: str, password: str, *, address: str) -> None:
        """Set a new password for a user who knows the old one.

        Also raises UsageError as `set_password` does, and TooManyError as `verified` does.

        Raises:
            NotAllowedError: the old password is wrong.
        """
        passwords.normalize(password)
        if (user := await self.verified(name, old, address=address)) is None:
            raise NotAllowedError("the old password is wrong")
        # Tied to the verified hash, because an admin may have set a new password meanwhile, to lock
        # out a person who knows this one.
        try:
            await self._replace(name, password, verified=user.password)
        except NotFoundError:
            raise NotAllowedError("the old password has changed meanwhile") from None

    async def change(self, name: str, changes: UserChanges, *, by: str) -> User:
        """Change a user. If their rights change, their streams end.

        The sessions and unfinished uploads of a user who is not active end as well.

        Nobody can take away their own access, so there is always an admin left.

        Raises:
            UsageError: a scope, a flow or the e-mail address is invalid.
            ConflictError: users would deactivate themselves, or no longer be admins.
            NotFoundError: there is no such user.
        """

        def revise(user: User) -> User:
            if name == by and changes.take_access_from(user):
                raise ConflictError(
                    f"{name!r} cannot take away their own access", hint="another admin can do it"
                )
            return changes.apply_to(user)

        user, sessions = await self._store.users.change(name, revise)
        self._end_streams(sessions)
        if not user.active:
            self._forget(owner_of(name, user.created))
        log.info("the user %r was changed by %r: %s", name, by, ", ".join(changes.given()))
        return user

    async def remove(self, name: str) -> None:
        """Delete a user; their sessions, streams and unfinished uploads end at once.

        Raises:
            NotFoundError: there is no such user.
        """
        user = await self._store.users.get(name)
        self._end_streams(await self._store.users.remove(name))
        self._forget(owner_of(name, user.created))
        log.info("the user %r was removed", name)

    async def _replace(self, name: str, password: str, *, verified: str | None = None) -> None:
        hashed = await self._hashing.hash(passwords.normalize(password))
        self._end_streams(await self._store.users.set_password(name, hashed, verified=verified))
        self._attempts.forget(name)
        log.info("the user %r has another password", name)

    def _end_streams(self, sessions: list[Session]) -> None:
        for each in sessions:
            self._end(each.credential)
