"""Launch flows when they are due, exactly once for each due time.

Each due time is launched under its own idempotency key and recorded afterwards. If the
control plane dies in between, it finds the execution under the key after the restart.
Times that were due while no control plane ran are counted as missed and reported.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from koco.control import clock
from koco.control.access.asker import Asker
from koco.control.executions.launcher import Launches
from koco.control.executions.scheduling import schedule_spec
from koco.control.executions.scheduling.launch_pace import Pace
from koco.control.services.catalog import Catalog
from koco.control.settings import Settings
from koco.control.tasks import Tasks, surely
from koco.errors import KocoError, NotFoundError
from koco.events import line
from koco.manifest import cron
from koco.store.model import AuditEntry, Execution, Release, Schedule, SchedulePause
from koco.store.schedules import EACH
from koco.store.store import Store

if TYPE_CHECKING:
    from koco.manifest import model

log = logging.getLogger(__name__)

#: The user name of scheduled launches.
USER = "schedule"
#: A launch may be this late (seconds), because the control plane's process may have been replaced
#: at the due time.
_LATE_S = 60.0
#: Pauses after the first, second, … failed try of a launch (seconds); the last one repeats.
_AGAIN_S = (5.0, 15.0, 60.0, 300.0)


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused a schedule, and when; `flow` is true if it was paused with its whole flow."""

    by: Annotated[str, Meta(examples=["ada"])]
    created: Annotated[str, Meta(examples=["2026-01-31T12:00:00.123456Z"])]
    flow: bool


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule of a flow, and the outcome of its past times. Times are RFC 3339 in UTC."""

    id: Annotated[str, Meta(examples=["3f9c2b71aa"])]
    cron: Annotated[str, Meta(examples=["0 7 * * 1-5"])]
    timezone: Annotated[str, Meta(examples=["Europe/Berlin"])]
    overlap: bool
    catch_up: bool
    next: str | None
    last: str | None
    #: The execution of the last time.
    fid: str | None
    missed: int
    missed_at: str | None
    skipped: int
    skipped_at: str | None
    trouble: str | None
    #: Set while it launches nothing.
    paused: Paused | None


@dataclass(slots=True, eq=False)
class Watch:
    """One schedule of a live release. `id` is the hash of its flow, inputs and times."""

    service: str
    id: str
    entry: "model.Schedule"
    state: Schedule
    next_s: float | None = None
    #: Why a launch failed, which due time that was (seconds since the epoch), when it is tried
    #: again (the same), and how often it was tried.
    trouble: str | None = None
    trying: float | None = None
    again_s: float = 0.0
    tries: int = 0
    task: "asyncio.Task[None] | None" = None

    @property
    def flow(self) -> str:
        """The full name of its flow."""
        return f"{self.service}/{self.entry.flow}"

    @property
    def public_id(self) -> str:
        """The id by which people name it."""
        return schedule_spec.public_id(self.service, self.id)


class Schedules:
    """Launches the flows of live releases at the times given in their manifests."""

    def __init__(
        self, store: Store, catalog: Catalog, launches: Launches, settings: Settings | None = None
    ) -> None:
        settings = settings or Settings()
        # A thousand may be due in the same second, and other requests must be served meanwhile.
        self._pace = Pace(lambda: settings.schedules_per_s)
        self._store = store
        self._catalog = catalog
        self._launches = launches
        self._stir = asyncio.Event()
        #: Whether live releases have changed since the last `refresh`, and whether this process
        #: launches what is due: it does not unless it leads.
        self._is_stale = self._is_leading = False
        self._refreshing = asyncio.Lock()
        catalog.on_change = self._note_change
        self._watches: dict[tuple[str, str], Watch] = {}
        #: The same watches, by the full names of their flows.
        self._of: dict[str, list[Watch]] = {}
        self._pauses: dict[tuple[str, str], SchedulePause] = {}
        self._tasks = Tasks("the schedules")

    async def recover(self) -> None:
        """Begin with the live releases. The catalog must have been loaded before."""
        self._is_leading = True
        self._tasks.keep(self._run)

    def _note_change(self) -> None:
        self._is_stale = True
        self._stir.set()

    async def up_to_date(self) -> None:
        """Return once these are the schedules of the releases that are live now.

        Who has just deployed would otherwise meet those of the former release for a moment.
        """
        if self._is_leading and (self._is_stale or self._refreshing.locked()):
            await self.refresh(time.time())

    def of(self, flow: str) -> list[ScheduleState]:
        """Return the schedules of a flow, by its full name, with their launches and failures."""
        return [self.describe(each) for each in self._of.get(flow, ())]

    def watches(self) -> list[Watch]:
        """Return the schedules of all live releases."""
        return [*self._watches.values()]

    def describe(self, watch: Watch) -> ScheduleState:
        """Return the state of a schedule."""
        return _describe(watch, self._pause_of(watch))

    def is_paused_with_its_flow(self, watch: Watch) -> bool:
        """Whether all schedules of its flow are paused, not only this one."""
        return (watch.flow, EACH) in self._pauses

    async def pause(self, flow: str, schedule: str, *, by: str) -> None:
        """Pause a schedule of a flow, or `EACH`: it launches nothing until it is resumed.

        That survives restarts and deploys.
        """
        await surely(lambda: self._store.schedules.pause(flow, schedule, by=by))
        self._pauses = await self._store.schedules.pauses()

    async def resume(self, flow: str, schedule: str) -> None:
        """End the pause of a schedule of a flow, or `EACH`. Times that passed are not made up."""
        now_s = time.time()
        for watch in self._of.get(flow, ()):
            if self._pause_of(watch) is not None and schedule in (EACH, watch.id):
                # Before the pause ends, so that a crash in between launches nothing.
                new = msgspec.structs.replace(watch.state, due=max(now_s, watch.state.due))
                await self._put(watch, new)
        await surely(lambda: self._store.schedules.resume(flow, schedule))
        self._pauses = await self._store.schedules.pauses()
        for watch in self._of.get(flow, ()):
            if watch.task is not None and watch.task.done():
                watch.task = None
        self._stir.set()

    async def launch(
        self,
        watch: Watch,
        due: float,
        *,
        user: str,
        key: str | None,
        audited: AuditEntry,
        asker: Asker | None = None,
    ) -> tuple[Execution, bool]:
        """Launch a schedule's flow on the release that is live now. See `Launches.launch`."""
        entry = watch.entry
        about = {"cron": entry.cron, "timezone": entry.timezone, "due": line.timestamp(due)}
        return await self._launches.launch(
            self._catalog.find(watch.flow),
            entry.inputs,
            user=user,
            key=key,
            about={"schedule": about},
            audited=audited,
            as_browser=True,
            asker=asker,
        )

    async def note_run(self, watch: Watch, fid: str, now_s: float) -> None:
        """Record that a person launched a schedule's flow: that is its last run now."""
        await self._put(watch, msgspec.structs.replace(watch.state, ran=now_s, fid=fid))

    async def open_run(self, watch: Watch) -> str | None:
        """Return the fid of its last run if that has not ended."""
        fid = watch.state.fid
        return fid if fid and await self._runs(fid) else None

    def _pause_of(self, watch: Watch) -> tuple[SchedulePause, bool] | None:
        """Return the pause of a schedule, and whether it is that of its flow."""
        if found := self._pauses.get((watch.flow, EACH)):
            return found, True
        found = self._pauses.get((watch.flow, watch.id))
        return None if found is None else (found, False)

    async def _put(self, watch: Watch, state: Schedule) -> None:
        await surely(lambda: self._store.schedules.put(watch.service, watch.id, state))
        watch.state = state

    async def _run(self) -> None:
        while True:
            await self.refresh(time.time())
            for key, watch in list(self._watches.items()):
                if watch.task is None:
                    entry = watch.entry
                    watch.next_s = cron.next_after(entry.cron, entry.timezone, time.time())
                    watch.task = self._tasks.spawn(self._follow(key, watch))
                    await asyncio.sleep(0)  # there may be thousands, and other tasks need the loop
            await self._stir.wait()
            self._stir.clear()

    async def refresh(self, now_s: float) -> None:
        """Follow the schedules of the live releases, and forget all others."""
        async with self._refreshing:
            self._is_stale = False
            try:
                await self._refresh(now_s)
            except BaseException:
                self._is_stale = True
                raise

    async def _refresh(self, now_s: float) -> None:
        live = {
            (release.service, schedule_spec.hash_of(entry)): (release, entry)
            for release in self._catalog.releases()
            for entry in release.manifest.schedule
        }
        states = await self._store.schedules.all()
        self._pauses = await self._store.schedules.pauses()
        for key in self._watches.keys() - live.keys():
            if task := self._watches.pop(key).task:
                task.cancel()
        if gone := [key for key in states if key not in live]:
            await surely(lambda: self._store.schedules.remove(gone))
        for key, (release, entry) in live.items():
            if known := self._watches.get(key):
                known.entry = entry
            else:
                state = states.get(key) or Schedule(due=_since(release, now_s))
                self._watches[key] = Watch(release.service, key[1], entry, state)
        self._of = {}
        for watch in self._watches.values():
            self._of.setdefault(watch.flow, []).append(watch)

    async def _follow(self, key: tuple[str, str], watch: Watch) -> None:
        while self._watches.get(key) is watch:
            await self._pace.turn(watch.service)
            try:
                await self.up_to_date()
                if self._watches.get(key) is not watch:
                    return
                due = await self.attend(key, time.time())
            except Exception as exc:  # report it and try again: a schedule must never stop
                log.exception("the schedule of %s/%s failed", watch.service, watch.entry.flow)
                watch.trouble = f"koco failed at this: {exc!r}"
                due = time.time() + _LATE_S / 2
            if due is None:
                return
            await clock.at(due)

    async def attend(self, key: tuple[str, str], now_s: float) -> float | None:
        """Launch a schedule's flow if it is due; return when to call again, or None for never.

        Times are in seconds since the epoch.
        """
        watch = self._watches[key]
        if self._pause_of(watch) is not None:
            watch.trying, watch.trouble, watch.next_s = None, None, None
            return None
        latest = cron.latest_until(watch.entry.cron, watch.entry.timezone, now_s)
        is_put_off = watch.trying == latest and now_s < watch.again_s
        if latest is not None and latest > watch.state.due and not is_put_off:
            await self._decide(key, latest, now_s)
        watch.next_s = cron.next_after(watch.entry.cron, watch.entry.timezone, now_s)
        if watch.trying is None:
            return watch.next_s
        return min(watch.again_s, watch.next_s or watch.again_s)

    async def _decide(self, which: tuple[str, str], due: float, now_s: float) -> None:
        """Launch the flow for one due time, or record why not. Earlier due times were missed."""
        watch = self._watches[which]
        entry, state = watch.entry, watch.state
        # In a thread, because a week may hold ten thousand missed times.
        missed = await asyncio.to_thread(_missed_times, entry, state.due, due)
        is_late = watch.trying != due and now_s - due > _LATE_S
        changes: dict[str, Any] = {}
        key = f"{' '.join(which)} {int(due)}"
        known = await self._store.executions.find_by_key(USER, key)
        if known is not None:
            changes = {"ran": due, "fid": known.fid}
        elif is_late and not entry.catch_up:
            missed.append(due)
        elif not entry.overlap and state.fid and await self._runs(state.fid):
            changes = {"skipped": state.skipped + 1, "skipped_at": due}
            log.warning("%s: skipped, %s has not ended", _describe_launch(watch, due), state.fid)
        else:
            try:
                fid = await self._launch(watch, due, key)
            except KocoError as exc:
                self._put_off(watch, due, now_s, exc)
                return
            changes = {"ran": due, "fid": fid}
        if missed:
            changes |= {"missed": state.missed + len(missed), "missed_at": missed[-1]}
            log.warning("%s: missed, %d times", _describe_launch(watch, missed[-1]), len(missed))
        # It may have been paused and resumed meanwhile, which moves `due` forward.
        new = msgspec.structs.replace(watch.state, due=max(due, watch.state.due), **changes)
        await self._put(watch, new)
        watch.trying, watch.trouble, watch.tries = None, None, 0

    async def _launch(self, watch: Watch, due: float, key: str) -> str:
        """Launch the flow because it is due; return the fid."""
        audited = AuditEntry(action="launch", who=USER)
        execution, _ = await self.launch(watch, due, user=USER, key=key, audited=audited)
        log.info("%s: launched", _describe_launch(watch, due), extra={"fid": execution.fid})
        return execution.fid

    def _put_off(self, watch: Watch, due: float, now_s: float, exc: KocoError) -> None:
        """Plan another try a little later. Tries end when the next due time comes."""
        watch.tries = watch.tries + 1 if watch.trying == due else 1
        watch.trying, watch.trouble = due, exc.message
        pause_s = _AGAIN_S[min(watch.tries, len(_AGAIN_S)) - 1]
        watch.again_s = now_s + pause_s
        log.warning("%s: not launched: %s", _describe_launch(watch, due), exc.message)

    async def _runs(self, fid: str) -> bool:
        try:
            return not (await self._store.executions.get(fid)).status.is_final
        except NotFoundError:
            return False


def _since(release: Release, now_s: float) -> float:
    """Return the time after which a release's schedules apply (seconds since the epoch)."""
    return datetime.fromisoformat(release.ready).timestamp() if release.ready else now_s


def _missed_times(entry: "model.Schedule", after_s: float, due: float) -> list[float]:
    """Return the due times between two times, which were all missed.

    There are at most `cron.MOST`; the last one is the latest in any case.
    """
    times = cron.due_times(entry.cron, entry.timezone, after_s, until_s=due - 1, most=cron.MOST)
    if len(times) == cron.MOST:  # there may be more than are counted
        times[-1] = cron.latest_until(entry.cron, entry.timezone, due - 1) or times[-1]
    return times


def _describe_launch(watch: Watch, due: float) -> str:
    return f"{watch.flow}, due at {line.timestamp(due)}"


def _describe(watch: Watch, pause: tuple[SchedulePause, bool] | None) -> ScheduleState:
    entry, state = watch.entry, watch.state
    return ScheduleState(
        id=watch.public_id,
        cron=entry.cron,
        timezone=entry.timezone,
        overlap=entry.overlap,
        catch_up=entry.catch_up,
        next=None if pause else line.timestamp_if_any(watch.next_s),
        last=line.timestamp_if_any(state.ran),
        fid=state.fid,
        missed=state.missed,
        missed_at=line.timestamp_if_any(state.missed_at),
        skipped=state.skipped,
        skipped_at=line.timestamp_if_any(state.skipped_at),
        trouble=watch.trouble,
        paused=pause and Paused(by=pause[0].by, created=pause[0].created, flow=pause[1]),
    )
