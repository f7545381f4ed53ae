"""The settings that an operator has changed."""

from collections.abc import Iterable
from typing import Any

import msgspec

from koco.store.engine.protocol import Connection
from koco.store.model import Topic
from koco.store.sql.repository import Repository
from koco.store.sql.table import replacement, to_json
from koco.store.stream import ledger

_PUT = replacement("settings", ("name", "value"), key=("name",))

_PUT_CURSOR = replacement("cursors", ("name", "cursor"), key=("name",))


class Settings(Repository):
    """The stored settings."""

    async def all(self) -> dict[str, Any]:
        """Return all stored settings, by name."""
        rows = await self._read(
            lambda db: db.execute("SELECT name, value FROM settings").fetchall()
        )
        return {name: msgspec.json.decode(value) for name, value in rows}

    async def put(self, values: dict[str, Any]) -> None:
        """Store some settings in one step. The others stay."""
        rows = [{"name": name, "value": to_json(value)} for name, value in values.items()]

        def change(db: Connection) -> None:
            db.executemany(_PUT, rows)
            ledger.tell(db, Topic.SETTINGS)

        await self._write(change)

    async def change(self, values: dict[str, Any], *, unset: Iterable[str]) -> None:
        """Store some settings, and remove others, in one step."""
        rows = [{"name": name, "value": to_json(value)} for name, value in values.items()]
        gone = [{"name": name} for name in unset]

        def change(db: Connection) -> None:
            db.executemany(_PUT, rows)
            db.executemany("DELETE FROM settings WHERE name = :name", gone)
            ledger.tell(db, Topic.SETTINGS)

        await self._write(change)

    async def cursor(self, name: str) -> str | None:
        """Return the place of a reader of the feed of changes; None if it has none yet."""
        look = "SELECT cursor FROM cursors WHERE name = :name"
        row = await self._read(lambda db: db.execute(look, {"name": name}).fetchone())
        return None if row is None else str(row[0])

    async def put_cursor(self, name: str, cursor: str) -> None:
        """Store the place of a reader of the feed of changes."""
        values = {"name": name, "cursor": cursor}
        await self._write(lambda db: db.execute(_PUT_CURSOR, values))
