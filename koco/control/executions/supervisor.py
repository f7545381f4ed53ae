"""Take executions from an accepted launch to a final status, across restarts of this process.

The store knows every execution; pools hold the unfinished ones. After a restart the
supervisor matches the two again: executions in a living runner go on, those that never
began are queued again, and those that died with their runner are settled with the cause.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from koco.cluster.runners import RunnerActor
from koco.control import clock, fair_turns
from koco.control.events.spooler import Spooler
from koco.control.executions.deadlines import Deadlines
from koco.control.executions.waiting.waiters import Waiters
from koco.control.leadership import Leadership
from koco.control.runners import reattach
from koco.control.runners.concurrency import Load, durable_flows, limits_of, policy_of
from koco.control.runners.handout import Handout
from koco.control.runners.limit_overrides import Overrides
from koco.control.runners.pool import Pool
from koco.control.runners.queue import Line
from koco.control.runners.reattach import Key, Present
from koco.control.runners.recovery import died
from koco.control.runners.worker import Remains
from koco.control.settings import Settings
from koco.control.tasks import Tasks, surely
from koco.errors import ConflictError
from koco.events import line
from koco.events.model import Status
from koco.events.used import Used
from koco.runner.spec import FlowSpec, RunnerSpec
from koco.sdk.process.crash import End
from koco.store.model import Execution, FailureEvent, NewExecution, Release
from koco.store.store import Store

if TYPE_CHECKING:
    from koco.manifest.model import Limits

log = logging.getLogger(__name__)

#: How often pools are checked for idle runners and raised limits (seconds).
_TIDY_S = 1.0

#: How long an execution may take to end after its timeout (seconds).
_GRACE_S = 5.0

#: How long settling after a restart waits for the data that a dead runner left (seconds).
_REMAINS_S = 10.0

#: How many waiting executions are ended in one commit. It is small because the next launch has to
#: wait for the commit.
_PIECE = 100

#: Starts a runner: `(spec, release) -> RunnerActor`.
StartRunner = Callable[[RunnerSpec, Release], Awaitable[RunnerActor]]


class Supervisor:
    """Owns the pools, by service and release number."""

    def __init__(
        self,
        store: Store,
        spooler: Spooler,
        *,
        start_runner: StartRunner,
        settings: Settings | None = None,
        remains: Remains | None = None,
        waiters: Waiters | None = None,
        leadership: Leadership | None = None,
    ) -> None:
        self._store = store
        self._spooler = spooler
        spooler.on_final = self._reported
        spooler.on_outcome = self.progressed
        self._waiters = Waiters() if waiters is None else waiters
        #: Called with each new pool and its release; used by the deployer.
        self.on_pool: Callable[[Release, Pool], None] = lambda release, pool: None
        self._start_runner = start_runner
        self._remains = remains
        self._leadership = leadership or Leadership()
        self.pools: dict[tuple[str, int], Pool] = {}
        self._settings = settings or Settings()
        self.overrides = Overrides(store)
        self.load = Load(self._settings)
        #: The launches that runners of this node take from the socket.
        self.handout = Handout()
        #: How many executions have been accepted since the start.
        self.launched = 0
        self._pool_of: dict[str, Pool] = {}
        #: The executions that may be queued again after their attempt has ended.
        self._retried: set[str] = set()
        #: The executions that are being parked.
        self._parking: set[str] = set()
        self._deadlines = Deadlines(store, spooler, end=self._time_out)
        self._tasks = Tasks("the supervisor")

    # calls of the API

    async def launch(self, new: NewExecution) -> Execution:
        """Accept an execution: commit it as queued, and give it to its pool.

        Raises:
            TooManyError: it would have to wait, and the queue is full.
        """
        pool = await self._ensure_pool(new.service, new.release)
        limits = pool.line.limits(new.flow)
        self.load.check(new.flow, limits, places=pool.places(new.flow), mean_s=pool.mean_s)
        try:
            policy = policy_of(limits, durable=new.flow in pool.durable)
            new = msgspec.structs.replace(new, policy=policy)
            fair_turns.yield_turn()  # for the disk, which commits any number of launches at once
            execution, is_new = await self._store.executions.create(new)
        finally:
            self.load.uncheck(new.flow)
        if is_new:
            self.launched += 1
            self.load.enter(execution.fid, execution.flow)
            await self._ensure_pool(execution.service, execution.release)
            self._enter(execution)
            self._spooler.wake(execution.fid)
        return execution

    async def _ensure_pool(self, service: str, number: int) -> Pool:
        """Return a release's pool. Make it again if it was removed because the release retired."""
        if pool := self.pools.get((service, number)):
            return pool
        release = await self._store.releases.get(service, number)
        pool = self.pool(release)
        if release.status != "live":
            pool.retire()
        return pool

    async def cancel(self, fid: str, *, grace_s: float) -> Execution:
        """Ask an execution to end; see `Pool.cancel`. Return it without waiting for its end.

        Raises:
            NotFoundError: there is no such execution.
            ConflictError: it has ended already.
        """
        before = await self._store.executions.get(fid)
        if before.status.is_final:
            raise ConflictError(f"execution {before.fid} has ended already: {before.status}")
        execution = await self._store.executions.request_cancel(before.fid, grace_s=grace_s)
        if execution.status.is_final:
            self.on_final(execution.fid)
        elif pool := self._pool_of.get(execution.fid):
            self._tasks.spawn(pool.cancel(execution.fid, grace_s=grace_s))
        self._spooler.wake(execution.fid)
        return execution

    def end_cancelled(self, fid: str) -> None:
        """Ask an execution to end that was cancelled with its parent."""
        self._tasks.spawn(self._end_cancelled(fid))

    async def _end_cancelled(self, fid: str) -> None:
        execution = await surely(lambda: self._store.executions.get(fid))
        if pool := self._pool_of.get(fid):
            await pool.cancel(fid, grace_s=execution.grace_s)

    def _reported(self, fid: str) -> None:
        """Called when a runner reports an execution's end, which proves that the release works."""
        if pool := self._pool_of.get(fid):
            pool.has_proven = True
        self.on_final(fid)

    def progressed(self, fid: str) -> None:
        """Called when an outcome of one of an execution's steps or waits is recorded."""
        if pool := self._pool_of.get(fid):
            pool.progressed(fid)

    def on_final(self, fid: str) -> None:
        """Free an execution's place. Called when it has a final status or its attempt has ended."""
        self._leave(fid)
        if fid in self._retried:
            self._tasks.spawn(self._try_again(fid))
        else:
            self._deadlines.forget(fid)

    def _leave(self, fid: str) -> None:
        """Free an execution's place, and end the requests that its process waits with."""
        self.load.leave(fid)
        if pool := self._pool_of.pop(fid, None):
            pool.settle_ended(fid)
            self.pump()
            pool.trim()
        self._spooler.wake(fid)
        self._waiters.dismiss(fid)

    async def park(
        self,
        execution: Execution,
        *,
        keys: Sequence[str],
        lids: Sequence[str],
        used: Used | None = None,
    ) -> bool:
        """Take an execution that only waits for these out of its runner; False if it must stay.

        Nothing of a parked execution is kept in memory. `wake` brings it back.
        """
        fid = execution.fid
        self._parking.add(fid)
        try:
            if not await self._store.executions.park(
                fid, execution.runner, keys=keys, lids=lids, used=used
            ):
                return False
            self._leave(fid)
            self._retried.discard(fid)
            self._deadlines.forget(fid)
        finally:
            self._parking.discard(fid)
        # One of them may have ended before or just after the commit.
        await self._enter_woken(fid)
        return True

    def wake(self, fid: str) -> None:
        """Put an execution in line that the store has queued again because a wait of it ended.

        It is never refused, however full the queue is.
        """
        self._tasks.spawn(self._enter_woken(fid))

    async def _enter_woken(self, fid: str) -> None:
        await self._enter_again(await surely(lambda: self._store.executions.get(fid)))

    async def _enter_again(self, execution: Execution) -> None:
        await self._ensure_pool(execution.service, execution.release)
        fid = execution.fid
        # `park` does the rest if it is still under way.
        if execution.status is not Status.QUEUED or fid in self._parking or fid in self.load:
            return
        self._enter(execution)
        self._spooler.wake(fid)

    async def catch_up(self) -> None:
        """Put executions in line that other processes have accepted, if that was not heard."""
        for execution in await self._store.executions.all_open():
            if execution.status is Status.QUEUED and not _is_withdrawn(execution):
                await self._enter_again(execution)

    def pump(self) -> None:
        """Give waiting executions of all pools to runners, starting with the longest wait."""
        waiting = [(since, pool) for pool in self.pools.values() if (since := pool.line.since)]
        for _, pool in sorted(waiting, key=lambda each: each[0]):
            pool.pump()

    async def _try_again(self, fid: str) -> None:
        """Run an execution again if the attempt that ended was not its last."""
        execution = await self._store.executions.get(fid)
        if execution.status is Status.QUEUED:
            log.info("attempt %s of an execution follows", execution.tries, extra={"fid": fid})
            await self._enter_again(execution)
        elif execution.status.is_final:
            self._retried.discard(fid)
            self._deadlines.forget(fid)

    def _time_out(self, fid: str) -> None:
        if pool := self._pool_of.get(fid):
            self._tasks.spawn(pool.cancel(fid, grace_s=_GRACE_S))

    def runner_of(self, fid: str) -> RunnerActor | None:
        """Return the runner of an execution; None if it has none."""
        pool = self._pool_of.get(fid)
        runner = pool.runner_of(fid) if pool else None
        return runner.actor if runner else None

    def why(self, execution: Execution) -> str | None:
        """Return why an execution waits, or what its runner does if the runner does not answer.

        Raises:
            OnlyLeaderError: it waits, and this process does not lead.
        """
        if execution.status is Status.QUEUED:
            self._leadership.require("it alone knows why an execution waits")
        pool = self._pool_of.get(execution.fid)
        if pool is None:
            return None
        if execution.status is not Status.QUEUED:
            return pool.what(execution.fid) or self._spooler.why(execution.fid)
        if execution.cancel_requested:
            return "it was cancelled and is about to end"
        if (execution.not_before or 0) > time.time():
            return f"attempt {execution.tries} begins at {line.timestamp(execution.not_before)}"
        limit = self.load.reason(execution.flow, pool.line.limits(execution.flow))
        return limit or pool.why_alone(execution) or pool.why_now

    # calls of the deployer

    async def hand_over(self, execution: Execution) -> None:
        """Put an execution that was moved to another release into that release's line."""
        # That release may itself have been replaced meanwhile.
        await self._ensure_pool(execution.service, execution.release)
        self.load.leave(execution.fid)
        self._enter(execution)
        self._spooler.wake(execution.fid)

    async def give_up(self, execution: Execution, error: FailureEvent) -> None:
        """End a waiting execution with an error because no runner will ever run it."""
        if await surely(lambda: self._store.executions.settle(execution.fid, Status.ERROR, error)):
            self.on_final(execution.fid)

    def limits(self, release: Release, flow: str) -> "Limits":
        """Return the limits of a flow of a release, by its short name, as they count now."""
        declared = limits_of(release.manifest, flow)
        return self.overrides.apply(f"{release.service}/{flow}", release.number, declared)

    def pool(self, release: Release) -> Pool:
        """Return the pool of a release. Make an empty one if there is none."""
        key = (release.service, release.number)
        if key not in self.pools:
            self.pools[key] = self._new_pool(release)
            self.on_pool(release, self.pools[key])
        return self.pools[key]

    async def cancel_all(self, service: str, *, grace_s: float) -> None:
        """Ask all unfinished executions of a service to end, and give no more of them to runners.

        This returns before they have ended. Thousands of waiting ones take some seconds, so they
        are ended in the background.
        """
        for (name, _), pool in self.pools.items():
            if name == service:
                pool.line.clear()
        for fid in await self._store.executions.request_cancels(service, grace_s=grace_s):
            if runs_in := self._pool_of.get(fid):
                self._tasks.spawn(runs_in.cancel(fid, grace_s=grace_s))
            self._spooler.wake(fid)
        self._tasks.spawn(self._end_waiting(service))

    async def _end_waiting(self, service: str) -> None:
        """End the waiting executions of a service that were asked to end."""
        while ended := await surely(
            lambda: self._store.executions.end_waiting(service, most=_PIECE)
        ):
            for fid in ended:
                self.on_final(fid)
            await asyncio.sleep(0)

    def retire(self, service: str, *, keep: int | None = None) -> None:
        """Retire the pools of all releases of a service, except that of release `keep`."""
        for (name, number), pool in self.pools.items():
            if name == service and number != keep:
                pool.retire()

    def drop(self, release: Release) -> None:
        """Forget the pool of a release that never became ready."""
        if pool := self.pools.pop((release.service, release.number), None):
            pool.retire()

    def _new_pool(self, release: Release) -> Pool:
        async def start(runner_id: str) -> RunnerActor:
            return await self._start_runner(spec_of(release, runner_id), release)

        known: dict[str, Limits] = {}

        def limits(flow: str) -> "Limits":
            if flow not in known:
                known[flow] = limits_of(release.manifest, flow.partition("/")[2])
            return self.overrides.apply(flow, release.number, known[flow])

        return Pool(
            f"{release.service}/{release.number}",
            release.manifest.runner,
            line=Line(self.load, limits),
            start=start,
            store=self._store,
            on_step=self._spooler.wake,
            on_final=self.on_final,
            remains=self._remains,
            settings=self._settings,
            durable=durable_flows(release),
            handout=self.handout,
        )

    # the process's life

    async def recover(self, present: Present) -> None:
        """Continue where the last process of the control plane ended. Waits for no runner.

        Executions that a runner was given count as running there until it answers: see `reattach`.
        """
        await self.overrides.load()
        executions = await self._store.executions.all_open()
        for release in await self._store.releases.with_status("live"):
            self.pool(release)
        for service, number in sorted({(e.service, e.release) for e in executions}):
            self.pool(await self._store.releases.get(service, number))
        given: dict[Key, set[str]] = defaultdict(set)
        # In the order of their launch, because that is the order of the line.
        for execution in executions:
            if execution.status is not Status.QUEUED:
                given[execution.service, execution.release, execution.runner].add(execution.fid)
                self._go_on(execution)
            elif not _is_withdrawn(execution):
                self._enter(execution)
        alone = {each.fid for each in executions if each.runs_alone}
        reattach.adopt(
            present, self.pools, given, alone=alone, tasks=self._tasks, settle=self._settle
        )
        for key in given.keys() - present.keys():
            self._tasks.spawn(self._bury(key[2], given[key]))
        for execution in executions:
            if execution.is_ending and execution.status is not Status.QUEUED:
                grace_s = execution.grace_s if execution.cancel_requested else _GRACE_S
                pool = self._pool_of[execution.fid]
                self._tasks.spawn(pool.cancel(execution.fid, grace_s=grace_s))
        for service in await self._store.executions.withdrawn_services():
            self._tasks.spawn(self._end_waiting(service))
        for (service, number), pool in self.pools.items():
            live = await self._store.releases.live(service)
            if live is None or live.number != number:
                pool.retire()
            pool.keep_warm()
        self._tasks.keep(self._tidy)

    def _go_on(self, execution: Execution) -> None:
        """Count an execution as running, and keep a place in line in case it is not."""
        pool = self.pools[execution.service, execution.release]
        self.load.enter(execution.fid, execution.flow, runs=True)
        pool.line.hold(execution.fid)
        self._keep(execution, pool)

    async def _bury(self, runner_id: str, fids: set[str]) -> None:
        """Settle the executions of a runner that died while the control plane was away."""
        end = None
        try:
            if self._remains is not None:
                end = await asyncio.wait_for(self._remains(runner_id, ""), _REMAINS_S)
        except Exception:
            log.exception("the remains of runner %s were not collected", runner_id)
        await self._settle(fids, runner_id, end)

    async def _settle(self, fids: Iterable[str], runner_id: str, end: End | None = None) -> None:
        """Run the executions that a runner never began elsewhere, and end the others."""
        cause = f"its process {end}" if end else "it was lost while the control plane was away"
        error = died(cause, end)
        # All at once, so that they share a commit, because there may be thousands.
        await asyncio.gather(*(self._settle_one(fid, runner_id, error) for fid in fids))

    async def _settle_one(self, fid: str, runner_id: str, error: FailureEvent) -> None:
        pool = self._pool_of.get(fid)
        if pool is None:
            return  # it has ended, because the data that its runner left said so
        if await surely(lambda: self._store.executions.requeue(fid, runner_id)):
            pool.put_back(await surely(lambda: self._store.executions.get(fid)))
        elif await surely(lambda: self._store.executions.lose(fid, runner_id, error)):
            self.on_final(fid)

    def _enter(self, execution: Execution) -> None:
        """Put an execution in line, now or when its next attempt may begin."""
        pool = self.pools[execution.service, execution.release]
        self.load.enter(execution.fid, execution.flow)
        self._keep(execution, pool)
        if execution.not_before is None:
            pool.submit(execution)
        else:
            self._tasks.spawn(self._submit_later(execution, execution.not_before))

    async def _submit_later(self, execution: Execution, due_s: float) -> None:
        await clock.at(due_s)
        if execution.fid in self.load:  # it has not been cancelled meanwhile
            pool = await self._ensure_pool(execution.service, execution.release)
            self._keep(execution, pool)
            pool.submit(execution)

    def _keep(self, execution: Execution, pool: Pool) -> None:
        self._pool_of[execution.fid] = pool
        self._deadlines.watch(execution)
        if execution.policy.retries or execution.policy.durable:
            self._retried.add(execution.fid)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_S)
            self.pump()  # a limit may have been raised
            for key, pool in list(self.pools.items()):
                pool.trim()
                live = await self._store.releases.live(key[0])
                is_live = live is not None and live.number == key[1]
                # An execution whose attempt failed may be waiting for its next attempt.
                if not is_live and pool.is_over and pool not in self._pool_of.values():
                    del self.pools[key]


def _is_withdrawn(execution: Execution) -> bool:
    """Return whether a waiting execution was asked to end, so that no runner may get it."""
    return execution.status is Status.QUEUED and execution.cancel_requested is not None


def spec_of(release: Release, runner_id: str) -> RunnerSpec:
    """Return the spec of one of a release's runners."""
    manifest = release.manifest
    return RunnerSpec(
        id=runner_id,
        service=release.service,
        release=release.number,
        flows=tuple(
            FlowSpec(name=flow.name, entrypoint=flow.entrypoint, inputs=flow.inputs)
            for flow in manifest.flows
        ),
        concurrency=manifest.runner.concurrency,
        app=manifest.app,
        dialect=manifest.dialect,
        public=manifest.endpoint.public,
    )
