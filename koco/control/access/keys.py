"""Keys: created, rotated, revoked, and checked.

A key's secret is shown once, to the caller that creates it; the store keeps its SHA-256. The secret
has 256 random bits, so it cannot be guessed and needs no salt.
"""

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Callable, Iterable

from koco import tokens
from koco.control.access.caller import Caller, owner_of
from koco.control.access.head_key import HEAD
from koco.control.access.scopes import check_name, check_rights
from koco.control.tasks import Tasks
from koco.errors import KocoError, UnauthorizedError, UsageError
from koco.events import line
from koco.store.keys import credential
from koco.store.model import AuditEntry, Key
from koco.store.store import Store

log = logging.getLogger(__name__)

#: How long a replaced secret stays valid by default (seconds).
GRACE_S = 86_400.0
#: The longest grace and the longest lifetime that may be requested (seconds).
LONGEST_GRACE_S, LONGEST_S = 90 * 86_400.0, 10 * 366 * 86_400.0

#: How old `last_used` may be (seconds), because a commit for each request would cost more than most
#: requests do.
_USED_S = 60.0


class Keys:
    """The keys of one control plane; every change of a key goes through here."""

    def __init__(
        self,
        store: Store,
        *,
        end: Callable[[str], None] = lambda _: None,
        forget: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        #: Called with a credential that was revoked, or whose lifetime was shortened.
        self._end = end
        #: Called with the owner that a revoked key was: see `owner_of`.
        self._forget = forget
        self._tasks = Tasks("the keys")
        self._noted: dict[str, float] = {}
        self._admitting = asyncio.Lock()

    async def caller(self, secret: str) -> Caller:
        """Return the caller that a key's secret belongs to.

        Raises:
            UnauthorizedError: the secret is unknown, or no longer valid.
        """
        digest = tokens.digest(secret)
        key = await self._store.keys.find(digest)
        # Looked up by its digest, so the time that it takes reveals nothing about the secret.
        is_former = key is not None and hmac.compare_digest(digest, key.former or b"")
        if key is None or not (is_former or hmac.compare_digest(digest, key.digest)):
            raise UnauthorizedError(
                "the key is not known here",
                hint="was it revoked, or does it belong to another control plane?"
                " `koco up` on its machine repairs a local context",
            )
        until = [each for each in (key.expires, key.former_until if is_former else None) if each]
        return _caller(key, min(until, default=None))

    async def named(self, name: str) -> Caller:
        """Return the caller that a key is, by its name, for requests that an admin lets act as it.

        Raises:
            NotFoundError: there is no such key.
            UnauthorizedError: it has expired.
        """
        key = await self._store.keys.get(name)
        return _caller(key, key.expires)

    def used(self, caller: Caller) -> None:
        """Note the use of a key, at most once a minute; the request does not wait for it."""
        now = time.monotonic()
        if now - self._noted.get(caller.name, -math.inf) >= _USED_S:
            self._noted[caller.name] = now
            self._tasks.spawn(self._note(caller.name, caller.address))

    async def create(
        self,
        name: str,
        *,
        by: str,
        scopes: Iterable[str],
        flows: Iterable[str] = (),
        sees_all: bool = False,
        expires_s: float | None = None,
    ) -> tuple[Key, str]:
        """Create a key; return it and its secret, which is shown this once.

        Raises:
            UsageError: the name, a scope, a flow or the lifetime is invalid.
            ConflictError: the name is taken.
        """
        check_name(name, what="key")
        scopes, flows = check_rights(scopes, flows)
        secret = tokens.new()
        key = Key(
            name=name,
            digest=tokens.digest(secret),
            scopes=scopes,
            created=line.timestamp(),
            by=by,
            flows=flows,
            sees_all=sees_all or "admin" in scopes,
            expires=_expires(expires_s),
        )
        await self._store.keys.add(key)
        self._noted.pop(name, None)
        log.info("the key %r was made by %r: %s", name, by, ", ".join(scopes))
        return key, secret

    async def rotate(
        self, name: str, *, grace_s: float = GRACE_S, expires_s: float | None = None
    ) -> tuple[Key, str]:
        """Give a key a new secret; return both. The old secret stays valid for `grace_s`.

        Raises:
            UsageError: the grace or the lifetime is invalid.
            NotFoundError: there is no such key.
            ConflictError: the key has expired, or it would expire and must not.
        """
        if not 0 <= grace_s <= LONGEST_GRACE_S:
            raise UsageError("the grace (grace_s) must be from 0 (none) to 90 days")
        secret = tokens.new()
        key = await self._store.keys.rotate(
            name,
            tokens.digest(secret),
            former_until=time.time() + grace_s if grace_s else None,
            expires=_expires(expires_s),
        )
        # Streams that were opened with the old secret reconnect, and then know when it expires.
        self._end(credential(name))
        log.info("the key %r was rotated", name)
        return key, secret

    async def revoke(self, name: str) -> Key:
        """Delete a key: further requests with it are refused, and its streams and uploads end.

        Raises:
            NotFoundError: there is no such key.
            ConflictError: it is the last admin key that does not expire.
        """
        key = await self._store.keys.revoke(name)
        self._noted.pop(name, None)
        self._end(credential(name))
        self._forget(owner_of(name, key.created))
        log.info("the key %r was revoked", name)
        return key

    async def admit(self, digest: bytes, *, recover: bool) -> bool:
        """Make a key, given by its SHA-256, the admin key if there is none, or if `recover` is set.

        Returns whether the key is known afterwards.
        """
        async with self._admitting:  # if two callers find no key, only one may be the first
            if await self._store.keys.find(digest) is not None:
                return True
            if await self._store.keys.exist() and not recover:
                return False
            key = Key(
                name="admin",
                digest=digest,
                scopes=("admin",),
                created=line.timestamp(),
                by=HEAD,
                sees_all=True,
            )
            await self._store.keys.put(key)
            action = "recover_admin" if recover else "create_key"
            entry = AuditEntry(action=action, who=HEAD, target=key.name)
            await self._store.audit.add([entry])
            self._end(credential(key.name))
            return True

    async def _note(self, name: str, address: str) -> None:
        try:
            await self._store.keys.note_use(name, at=line.timestamp(), address=address)
        except KocoError as exc:
            log.warning("the last use of the key %r could not be noted: %r", name, exc)


def status(key: Key) -> str:
    """Return a key's status: active, expired, or rotating while its old secret is valid, too."""
    now = time.time()
    if key.expires is not None and key.expires <= now:
        return "expired"
    return "rotating" if key.former_until is not None and key.former_until > now else "active"


def _expires(expires_s: float | None) -> float | None:
    if expires_s is None:
        return None
    if not 1 <= expires_s <= LONGEST_S:
        what = "a key expires after one second at least and ten years at most (expires_s)"
        raise UsageError(what, hint="without `expires_s` it never expires")
    return time.time() + expires_s


def _caller(key: Key, expires: float | None) -> Caller:
    """Return the caller that a key is until it expires.

    Raises:
        UnauthorizedError: it has.
    """
    if expires is not None and expires <= time.time():
        raise _over(key, expires)
    return Caller.of(key, credential=credential(key.name), expires=expires)


def _over(key: Key, since: float) -> UnauthorizedError:
    if key.expires is not None and key.expires <= time.time():
        what = f"the key {key.name!r} expired at {line.timestamp(key.expires)}"
        return UnauthorizedError(what, hint="an admin can create another one: `koco key create`")
    what = f"the key {key.name!r} was rotated, and this secret expired at {line.timestamp(since)}"
    return UnauthorizedError(what, hint="whoever rotated it has the new one")
