"""The state of schedules."""

import msgspec

from koco.events import line
from koco.store.model import Schedule, SchedulePause
from koco.store.sql.repository import Repository
from koco.store.sql.table import replacement, to_json

_PUT = replacement("schedules", ("service", "id", "state"), key=("service", "id"))
_SELECT = "SELECT service, id, state FROM schedules"
_DELETE = "DELETE FROM schedules WHERE service = :service AND id = :id"
_PAUSES = "SELECT flow, schedule, by, created FROM schedule_pauses"
#: The first pause stays.
_PAUSE = (
    "INSERT INTO schedule_pauses (flow, schedule, by, created)"
    " VALUES (:flow, :schedule, :by, :created) ON CONFLICT DO NOTHING"
)
_RESUME = "DELETE FROM schedule_pauses WHERE flow = :flow AND schedule = :schedule"
_RESUME_ALL = "DELETE FROM schedule_pauses WHERE flow = :flow"

#: The id that stands for all schedules of a flow.
EACH = ""


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

    async def pauses(self) -> dict[tuple[str, str], SchedulePause]:
        """Return the pauses, by the full name of a flow and a schedule's id, or `EACH`."""
        return await self._read(
            lambda db: {
                (flow, schedule): SchedulePause(by=by, created=created)
                for flow, schedule, by, created in db.execute(_PAUSES)
            }
        )

    async def pause(self, flow: str, schedule: str, *, by: str) -> None:
        """Pause a schedule of a flow, or `EACH` of them. If it is paused already, that stays."""
        row = {"flow": flow, "schedule": schedule, "by": by, "created": line.timestamp()}
        await self._write(lambda db: db.execute(_PAUSE, row))

    async def resume(self, flow: str, schedule: str) -> None:
        """End the pause of a schedule, or with `EACH` all pauses of the flow."""
        statement = _RESUME_ALL if schedule == EACH else _RESUME
        values = {"flow": flow, "schedule": schedule}
        values = {"flow": flow} if schedule == EACH else values
        await self._write(lambda db: db.execute(statement, values))
