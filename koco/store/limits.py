"""The limits that somebody has set in place of manifests' limits."""

import msgspec

from koco.store.engine.protocol import Connection, Values
from koco.store.model import LimitOverride, Topic
from koco.store.sql.repository import Repository
from koco.store.sql.table import replacement, to_json
from koco.store.stream import ledger

_PUT = replacement("limits", ("flow", "override"), key=("flow",))


class Limits(Repository):
    """The overridden limits, one for each flow at most."""

    async def all(self) -> list[LimitOverride]:
        """Return all overrides, by flow."""
        return await self._read(
            lambda db: [
                msgspec.json.decode(override, type=LimitOverride)
                for (override,) in db.execute("SELECT override FROM limits ORDER BY flow")
            ]
        )

    async def put(self, override: LimitOverride) -> None:
        """Store a flow's override in place of its former one."""
        row = {"flow": override.flow, "override": to_json(override)}
        await self._write(lambda db: _change(db, override.flow, _PUT, row))

    async def remove(self, flow: str) -> None:
        """Remove a flow's override, if there is one."""
        remove = "DELETE FROM limits WHERE flow = :flow"
        await self._write(lambda db: _change(db, flow, remove, {"flow": flow}))


def _change(db: Connection, flow: str, sql: str, values: Values) -> None:
    db.execute(sql, values)
    ledger.tell(db, Topic.LIMITS, key=flow)
