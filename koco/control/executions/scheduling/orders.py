"""What people do about schedules: find one by a name, pause and resume it, or run it now."""

import time
from collections.abc import Callable, Sequence

from koco.control.access.asker import Asker
from koco.control.executions.scheduling.schedules import Schedules, Watch
from koco.control.services.catalog import Catalog
from koco.errors import ConflictError, NotFoundError
from koco.store.model import AuditEntry, Execution
from koco.store.schedules import EACH
from koco.store.store import Store

#: Says whether a caller may see a flow, by its full name.
Sees = Callable[[str], bool]


class ScheduleOrders:
    """Carries out what people order about schedules.

    A schedule is named by its id, by a unique beginning of it, or by its flow. A flow stands for
    all of its schedules.
    """

    def __init__(self, schedules: Schedules, *, store: Store, catalog: Catalog) -> None:
        self._schedules = schedules
        self._store = store
        self._catalog = catalog

    def visible(self, sees: Sees, name: str | None = None) -> list[Watch]:
        """Return the schedules that a caller may see: all, or those of a name.

        Raises:
            NotFoundError: nothing has this name, or that flow has no schedule.
            ConflictError: several flows have this name.
        """
        return self._find(name, sees)[0] if name is not None else self._sorted(sees)

    async def pause(self, name: str, *, by: str, sees: Sees) -> list[Watch]:
        """Pause a schedule, or all of a flow; return them. Raises as `visible`."""
        found, is_flow = self._find(name, sees)
        schedule = EACH if is_flow else found[0].id
        await self._schedules.pause(found[0].flow, schedule, by=by)
        return found

    async def resume(self, name: str, *, sees: Sees) -> list[Watch]:
        """Resume a schedule, or all of a flow; return them.

        Raises:
            ConflictError: only the schedule is named, and its whole flow is paused.
            Others: see `visible`.
        """
        found, is_flow = self._find(name, sees)
        first = found[0]
        if not is_flow and self._schedules.is_paused_with_its_flow(first):
            raise ConflictError(
                f"all schedules of {first.flow} are paused, not only {first.public_id}",
                hint=f"`koco schedule resume {first.flow}` resumes them",
            )
        await self._schedules.resume(first.flow, EACH if is_flow else first.id)
        return found

    async def trigger(
        self,
        name: str,
        *,
        user: str,
        sees: Sees,
        key: str | None,
        audited: AuditEntry,
        asker: Asker | None,
    ) -> tuple[Execution, bool]:
        """Launch a schedule's flow now, with its inputs; return the execution, and if it is new.

        It belongs to the caller, and counts as the schedule's last run. A paused schedule may be
        triggered, too.

        Raises:
            ConflictError: its last run has not ended and must not overlap, or the name fits
                several schedules.
            Others: see `visible` and `Launches.launch`.
        """
        watch = self._one(name, sees)
        known = None if key is None else await self._store.executions.find_by_key(user, key)
        if known is None and not watch.entry.overlap:
            await self._require_no_open_run(watch)
        now_s = time.time()
        execution, is_new = await self._schedules.launch(
            watch, now_s, user=user, key=key, audited=audited, asker=asker
        )
        if is_new:
            await self._schedules.note_run(watch, execution.fid, now_s)
        return execution, is_new

    async def _require_no_open_run(self, watch: Watch) -> None:
        if fid := await self._schedules.open_run(watch):
            raise ConflictError(
                f"the last run of this schedule has not ended: {fid}",
                hint=f"`koco wait {fid}` waits for that; `koco run {watch.flow}` does not ask",
            )

    def _one(self, name: str, sees: Sees) -> Watch:
        found, _ = self._find(name, sees)
        if len(found) > 1:
            raise ConflictError(
                f"{name} has {len(found)} schedules", hint=f"say which: {_listed(found)}"
            )
        return found[0]

    def _find(self, name: str, sees: Sees) -> tuple[list[Watch], bool]:
        """Return the schedules of a name, and whether it is that of a flow."""
        known = self._sorted(sees)
        fits = [each for each in known if name and each.public_id.startswith(name)]
        if len(fits) == 1:
            return fits, False
        flows = {each.flow for each in known}
        flow = name if name in flows else self._flow(name, fits, sees)
        found = [each for each in known if each.flow == flow]
        if not found:
            raise NotFoundError(
                f"{flow} has no schedule", hint="`koco schedule list` lists them all"
            )
        return found, True

    def _flow(self, name: str, fits: Sequence[Watch], sees: Sees) -> str:
        try:
            return self._catalog.find(name, sees=sees).name
        except NotFoundError:
            if fits:
                raise ConflictError(
                    f"the ids of several schedules begin with {name!r}",
                    hint=f"say which: {_listed(fits)}",
                ) from None
            raise NotFoundError(
                f"no schedule and no flow is called {name[:80]!r}",
                hint="`koco schedule list` lists them",
            ) from None

    def _sorted(self, sees: Sees) -> list[Watch]:
        watches = (each for each in self._schedules.watches() if sees(each.flow))
        return sorted(watches, key=lambda each: (each.flow, each.public_id))


def _listed(watches: Sequence[Watch]) -> str:
    return ", ".join(f"{each.public_id} ({each.entry.cron})" for each in watches[:5])
