"""Sessions: a user who has logged in sends a session's token instead of the password."""

import hmac
import time
from collections.abc import Callable

from koco import tokens
from koco.control.access import users
from koco.control.access.caller import Caller
from koco.control.access.passwords import Passwords
from koco.control.access.users import Users
from koco.control.settings import Settings
from koco.errors import NotFoundError, UnauthorizedError
from koco.events import line
from koco.store.model import Session, User
from koco.store.store import Store


class Sessions:
    """The sessions of one control plane."""

    def __init__(
        self,
        store: Store,
        known: Users,
        hashing: Passwords,
        settings: Settings,
        *,
        end: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._users = known
        self._hashing = hashing
        self._settings = settings
        #: Called with the credential of a session that has ended.
        self._end = end

    async def begin(self, name: str, password: str, *, address: str) -> tuple[str, Session, User]:
        """Log a user in; return the token, which is shown this once, with its session and user.

        Raises:
            NotFoundError: there are no users at all.
            UnauthorizedError: the name or the password is wrong, or the user is not active.
            TooManyError: there were too many failed attempts lately, or too many users are
                logging in at once.
        """
        if not await self._store.users.exist():
            raise NotFoundError(
                "nobody can log in here, because there are no users",
                hint="an admin can create one: `koco user create NAME`; a key needs no login",
            )
        user = await self._users.verified(name, password, address=address)
        if user is not None and not user.active:
            # Only callers who know the password are told.
            raise UnauthorizedError(
                f"the user {name!r} is not active",
                hint=f"an admin can change that: `koco user enable {name}`",
            )
        token = tokens.new(tokens.SESSION)
        session = Session(
            digest=tokens.digest(token),
            user=name,
            created=line.timestamp(),
            expires=time.time() + self._settings.session_hours * 3600,
        )
        # Tied to the verified hash, because the user may have been removed meanwhile.
        if user is None or not await self._store.users.begin_session(
            session, verified=user.password, address=address
        ):
            raise UnauthorizedError(
                users.WRONG, hint="an admin can set another password: `koco user password NAME`"
            )
        if self._hashing.is_old(user.password):
            hashed = await self._hashing.hash(password)
            await self._store.users.rehash(name, verified=user.password, password=hashed)
        return token, session, user

    async def caller(self, token: str) -> Caller:
        """Return the caller that a session's token belongs to.

        Raises:
            UnauthorizedError: the token is unknown, or its session is over.
        """
        digest = tokens.digest(token)
        found = await self._store.users.find_session(digest)
        # Looked up by its digest, so the time that it takes reveals nothing about the token.
        if found is None or not hmac.compare_digest(digest, found[0].digest):
            raise _over()
        session, user = found
        if session.expires <= time.time():
            raise _over()
        return Caller.of(user, credential=session.credential, expires=session.expires)

    async def end(self, token: str) -> None:
        """End a session and its streams."""
        digest = tokens.digest(token)
        found = await self._store.users.find_session(digest)
        await self._store.users.end_session(digest)
        if found is not None:
            self._end(found[0].credential)


def _over() -> UnauthorizedError:
    return UnauthorizedError(
        "the session has expired", hint="log in again: `koco login URL --user NAME`"
    )
