"""API keys."""

import time

import msgspec

from koco.errors import ConflictError, NotFoundError
from koco.store.engine.protocol import Connection
from koco.store.model import Key, Page, Topic
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table
from koco.store.stream import ledger, outbox

_KEYS = Table("keys", Key, key=("name",), json=("scopes", "flows"))
_NAMED = "WHERE name = :name"
#: Whether a key is an admin's and never expires. At least one such key must always exist.
_IS_LASTING = """scopes LIKE '%"admin"%' AND expires IS NULL"""


def credential(name: str) -> str:
    """Return the credential that a key is, under which its streams are counted."""
    return f"key:{name}"


class Keys(Repository):
    """Keys by name and by digest."""

    async def put(self, key: Key) -> None:
        """Store a key, or replace the one of that name, whose webhooks are not the new one's."""

        def change(db: Connection) -> None:
            old = _KEYS.first(db, _NAMED, name=key.name)
            if old is not None and old.created != key.created:
                outbox.disable_all(db, key.name)
            _KEYS.put(db, key)
            _tell(db, key.name)

        await self._write(change)

    async def add(self, key: Key) -> None:
        """Add a key.

        Raises:
            ConflictError: a key or a user has that name.
        """
        await self._write(lambda db: _add(db, key))

    async def find(self, digest: bytes) -> Key | None:
        """Return the key that has this SHA-256, or had it before its rotation."""
        where = "WHERE digest = :digest OR former = :digest"
        return await self._read(lambda db: _KEYS.first(db, where, digest=digest))

    async def get(self, name: str) -> Key:
        """Return a key by its name.

        Raises:
            NotFoundError: it does not exist.
        """
        return await self._read(lambda db: _get(db, name))

    async def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Key]:
        """Return a page of keys, by name. A cursor stays valid while keys change."""
        after, by_name = cursor or "", "WHERE name > :after ORDER BY name"
        return await self._read(
            lambda db: _KEYS.page(db, limit, lambda key: key.name, by_name, after=after)
        )

    async def exist(self) -> bool:
        """Whether there are any keys."""
        return await self._read(_KEYS.any)

    async def rotate(
        self,
        name: str,
        digest: bytes,
        *,
        former_until: float | None,
        expires: float | None = None,
    ) -> Key:
        """Replace a key's digest. The old one stays valid until `former_until`.

        Without `expires`, the key's expiry does not change.

        Raises:
            NotFoundError: there is no key of that name.
            ConflictError: it has expired, or it is the last admin key without an expiry and would
                get one.
        """

        def change(db: Connection) -> Key:
            old = _get(db, name)
            ends = old.expires if expires is None else expires
            if old.expires is None and ends is not None:
                _require_another(db, old, "be replaced by one that expires")
            if ends is not None and ends <= time.time():
                raise ConflictError(
                    f"the key {name!r} has expired: a new secret would not work",
                    hint=f"`koco key rotate {name} --expires 30d` gives it more time",
                )
            new = msgspec.structs.replace(
                old,
                digest=digest,
                former=old.digest if former_until is not None else None,
                former_until=former_until,
                expires=ends,
            )
            _KEYS.put(db, new)
            _tell(db, name)
            return new

        return await self._write(change)

    async def revoke(self, name: str) -> Key:
        """Delete a key and return it. Its webhooks are disabled.

        Raises:
            NotFoundError: it does not exist.
            ConflictError: it is the last admin key without an expiry.
        """

        def change(db: Connection) -> Key:
            key = _get(db, name)
            _require_another(db, key, "be revoked")
            _KEYS.delete(db, _NAMED, name=name)
            outbox.disable_all(db, name)
            _tell(db, name)
            return key

        return await self._write(change)

    async def note_use(self, name: str, *, at: str, address: str) -> None:
        """Record when and from which address a key was used. A missing key is not an error."""
        use = {"last_used": at, "last_from": address}
        await self._write(lambda db: _KEYS.update(db, _NAMED, use, name=name))


def _add(db: Connection, key: Key) -> None:
    if _KEYS.any(db, _NAMED, name=key.name):
        raise ConflictError(
            f"there is a key {key.name!r} already",
            hint=f"`koco key rotate {key.name}` gives it a new secret",
        )
    if db.execute("SELECT 1 FROM users WHERE name = :name", {"name": key.name}).fetchone():
        raise ConflictError(
            f"there is a user {key.name!r} already",
            hint="keys and users are known by their names: choose another",
        )
    _KEYS.put(db, key)


def _tell(db: Connection, name: str) -> None:
    ledger.tell(db, Topic.ACCESS, key=credential(name))


def _get(db: Connection, name: str) -> Key:
    key = _KEYS.first(db, _NAMED, name=name)
    if key is None:
        raise NotFoundError(f"there is no key {name!r}", hint="`koco key list` lists them")
    return key


def _require_another(db: Connection, key: Key, what: str) -> None:
    """Refuse to lose the last key that can always make others."""
    lasting = [row[0] for row in db.execute(f"SELECT name FROM keys WHERE {_IS_LASTING}")]
    if lasting == [key.name]:
        raise ConflictError(
            f"{key.name!r} is the last admin key that does not expire: it cannot {what}",
            hint="`koco key create NAME --scope admin` makes another one first",
        )
