"""The state of schedules."""

import msgspec

from koco.store.model import Schedule
from koco.store.sql.repository import Repository
from koco.store.sql.table import replacement, to_json

_PUT = replacement("schedules", ("service", "id", "state"), key=("service", "id"))
_SELECT = "SELECT service, id, state FROM schedules"
_DELETE = "DELETE FROM schedules WHERE service = :service AND id = :id"


class Schedules(Repository):
    """The state of schedules, by service and the schedule's id."""

    async def all(self) -> dict[tuple[str, str], Schedule]:
        """Return the state of all schedules."""
        return await self._read(
            lambda db: {
                (service, schedule): msgspec.json.decode(state, type=Schedule)
                for service, schedule, state in db.execute(_SELECT)
            }
        )

    async def put(self, service: str, schedule: str, state: Schedule) -> None:
        """Store the state of a schedule."""
        row = {"service": service, "id": schedule, "state": to_json(state)}
        await self._write(lambda db: db.execute(_PUT, row))

    async def remove(self, gone: list[tuple[str, str]]) -> None:
        """Delete the state of schedules."""
        rows = [{"service": service, "id": schedule} for service, schedule in gone]
        await self._write(lambda db: db.executemany(_DELETE, rows))
