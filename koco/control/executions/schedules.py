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
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from koco.control import clock
from koco.control.executions import schedule_spec
from koco.control.executions.launch_pace import Pace
from koco.control.executions.launcher import Launches
from koco.control.services.catalog import Catalog
from koco.control.settings import Settings
from koco.control.tasks import Tasks, surely
from koco.errors import KocoError, NotFoundError
from koco.events import line
from koco.manifest import cron, model
from koco.store.model import AuditEntry, Release, Schedule
from koco.store.store import Store

log = logging.getLogger(__name__)

#: The user name of scheduled launches.
USER = "schedule"
#: A launch may be this late (seconds), because the control plane's process may have been replaced
#: at the due time.
_LATE_S = 60.0
#: Pauses after the first, second, … failed try of a launch (seconds); the last one repeats.
_AGAIN_S = (5.0, 15.0, 60.0, 300.0)


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule of a flow, and the outcome of its past times. Times are RFC 3339 in UTC."""

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


@dataclass(slots=True, eq=False)
class _Watch:
    """One schedule of a live release."""

    service: str
    entry: model.Schedule
    state: Schedule
    next_s: float | None = None
    #: Why a launch failed, which due time that was (seconds since the epoch), when it is tried
    #: again (the same), and how often it was tried.
    trouble: str | None = None
    trying: float | None = None
    again_s: float = 0.0
    tries: int = 0
    task: "asyncio.Task[None] | None" = None


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
        catalog.on_change = self._stir.set
        self._watches: dict[tuple[str, str], _Watch] = {}
        #: The same watches, by the full names of their flows.
        self._of: dict[str, list[_Watch]] = {}
        self._tasks = Tasks("the schedules")

    async def recover(self) -> None:
        """Begin with the live releases. The catalog must have been loaded before."""
        self._tasks.keep(self._run)

    def of(self, flow: str) -> list[ScheduleState]:
        """Return the schedules of a flow, by its full name, with their launches and failures."""
        return [_describe(each) for each in self._of.get(flow, ())]

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
        live = {
            (release.service, schedule_spec.hash_of(entry)): (release, entry)
            for release in self._catalog.releases()
            for entry in release.manifest.schedule
        }
        states = await self._store.schedules.all()
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
                self._watches[key] = _Watch(release.service, entry, state)
        self._of = {}
        for watch in self._watches.values():
            self._of.setdefault(f"{watch.service}/{watch.entry.flow}", []).append(watch)

    async def _follow(self, key: tuple[str, str], watch: _Watch) -> None:
        while self._watches.get(key) is watch:
            await self._pace.turn(watch.service)
            try:
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
        new = msgspec.structs.replace(state, due=due, **changes)
        await surely(lambda: self._store.schedules.put(*which, new))
        watch.state, watch.trying, watch.trouble, watch.tries = new, None, None, 0

    async def _launch(self, watch: _Watch, due: float, key: str) -> str:
        """Launch the flow on the release that is live now; return the fid."""
        entry = watch.entry
        about = {"cron": entry.cron, "timezone": entry.timezone, "due": line.timestamp(due)}
        execution, _ = await self._launches.launch(
            self._catalog.find(f"{watch.service}/{entry.flow}"),
            entry.inputs,
            user=USER,
            key=key,
            about={"schedule": about},
            audited=AuditEntry(action="launch", who=USER),
            as_browser=True,
        )
        log.info("%s: launched", _describe_launch(watch, due), extra={"fid": execution.fid})
        return execution.fid

    def _put_off(self, watch: _Watch, due: float, now_s: float, exc: KocoError) -> None:
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


def _missed_times(entry: model.Schedule, after_s: float, due: float) -> list[float]:
    """Return the due times between two times, which were all missed.

    There are at most `cron.MOST`; the last one is the latest in any case.
    """
    times = cron.due_times(entry.cron, entry.timezone, after_s, until_s=due - 1, most=cron.MOST)
    if len(times) == cron.MOST:  # there may be more than are counted
        times[-1] = cron.latest_until(entry.cron, entry.timezone, due - 1) or times[-1]
    return times


def _describe_launch(watch: _Watch, due: float) -> str:
    return f"{watch.service}/{watch.entry.flow}, due at {line.timestamp(due)}"


def _describe(watch: _Watch) -> ScheduleState:
    entry, state = watch.entry, watch.state
    return ScheduleState(
        cron=entry.cron,
        timezone=entry.timezone,
        overlap=entry.overlap,
        catch_up=entry.catch_up,
        next=line.timestamp_if_any(watch.next_s),
        last=line.timestamp_if_any(state.ran),
        fid=state.fid,
        missed=state.missed,
        missed_at=line.timestamp_if_any(state.missed_at),
        skipped=state.skipped,
        skipped_at=line.timestamp_if_any(state.skipped_at),
        trouble=watch.trouble,
    )
