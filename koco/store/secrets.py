"""Secrets: those of services, encrypted, and the store's own."""

import secrets

from koco.store.engine.protocol import Connection
from koco.store.model import Sealed
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table

_SEALED = Table("sealed", Sealed, key=("name",))
_NAMED = "WHERE name = :name"


class Secrets(Repository):
    """Services' secrets, and the random secrets that a store makes for itself."""

    async def own(self, name: str) -> bytes:
        """Return the store's own random secret of that name, made at first use (32 bytes)."""
        values = {"name": name, "value": secrets.token_bytes(32)}

        def change(db: Connection) -> bytes:
            db.execute("INSERT INTO secrets VALUES (:name, :value) ON CONFLICT DO NOTHING", values)
            row = db.execute("SELECT value FROM secrets WHERE name = :name", values).fetchone()
            return bytes(row[0])

        return await self._write(change)

    async def put(self, sealed: Sealed) -> bool:
        """Store an encrypted secret, or replace the one of that name; say whether it is new."""

        def change(db: Connection) -> bool:
            is_new = not _SEALED.any(db, _NAMED, name=sealed.name)
            _SEALED.put(db, sealed)
            return is_new

        return await self._add(change)

    async def remove(self, name: str) -> bool:
        """Delete an encrypted secret; False if there is none."""
        return await self._write(lambda db: _SEALED.delete(db, _NAMED, name=name) > 0)

    async def all(self) -> list[Sealed]:
        """Return all encrypted secrets, by name."""
        return await self._read(lambda db: _SEALED.select(db, "ORDER BY name"))
