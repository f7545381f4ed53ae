"""The runners of one release: start them, give them executions, and end them in order.

A pool keeps `min` runners ready. An execution goes to a runner with room at once.
If none has room, it waits in line, and the pool grows up to `max` runners if the
wait is likely to take longer than a start. A runner leaves when it has served its
maximum number of executions or has been idle for too long.
"""

import asyncio
import contextlib
import functools
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from koco import trace_context
from koco.cluster.runners import ENDED, RunnerActor, RunnerDied
from koco.control.runners.handout import Handout
from koco.control.runners.losses import Loss
from koco.control.runners.queue import Line
from koco.control.runners.recovery import Recovery, is_young
from koco.control.runners.seclusion import Seclusion
from koco.control.runners.start_backoff import LIVED_S, Setbacks
from koco.control.runners.worker import (
    SHORT_LIVED,
    Remains,
    Runner,
    cause_of,
    first,
    see_off,
)
from koco.control.settings import Settings
from koco.control.tasks import Tasks, surely
from koco.errors import KocoError
from koco.events.model import Status
from koco.plurals import counted, verbal
from koco.runner.spec import Description, Launch
from koco.sdk.process import memory
from koco.sizes import MB
from koco.store.model import Execution, FailureEvent, RunnerStart
from koco.store.store import Store

if TYPE_CHECKING:
    from koco.manifest import model

log = logging.getLogger(__name__)

#: How long an execution waits in line before the pool considers growing (seconds).
_PATIENCE_S = 0.05
#: About how long a start takes (seconds). If the line clears faster than that, the pool does not
#: grow.
_START_S = 1.0
#: How long a cancellation waits for a process to be ended (seconds).
_CANCEL_S = 1.0
#: How long a runner may take to say whether its loop is blocked (seconds).
_SILENT_S = 20.0
#: How long code that holds the interpreter may keep a runner from beginning an execution (seconds),
#: and how long if beginning it means imports, because imports may hold the interpreter (seconds).
_BEGIN_S = 10.0
_IMPORT_S = 60.0


Start = Callable[[str], Awaitable[RunnerActor]]


class Pool:
    """The runners of one release. Call its methods only on the control plane's loop."""

    def __init__(
        self,
        name: str,
        limits: "model.Runner",
        *,
        line: Line,
        start: Start,
        store: Store,
        on_step: Callable[[str], None],
        on_final: Callable[[str], None],
        remains: Remains | None = None,
        settings: Settings | None = None,
        durable: frozenset[str] = frozenset(),
        handout: Handout | None = None,
    ) -> None:
        self.name = name
        #: The flows whose executions are durable, by their full names.
        self.durable = durable
        self._settings = settings or Settings()
        self._handout = handout or Handout()
        self.limits = limits
        #: The executions that wait for a runner of this release.
        self.line = line
        self.runners: dict[str, Runner] = {}
        #: Whether the last start that was given up was waiting for its process, not for imports.
        self.was_awaited = False
        #: Called when a runner dies unexpectedly or fails to start.
        self.on_loss: Callable[[Loss], None] = lambda loss: None
        #: The runner that was started last.
        self.newest: Runner | None = None
        #: Whether one of its runners has reported the end of an execution.
        self.has_proven = False
        self._start = start
        self._store = store
        self._on_step = on_step
        self._on_final = on_final
        self._is_live = True
        self._starting = 0
        self._generation = 0
        self._renewal: asyncio.Task[None] | None = None
        self._setbacks = Setbacks()
        #: The moving average of how long recent executions took (seconds).
        self.mean_s: float | None = None
        self._began: dict[str, float] = {}
        self._tasks = Tasks(f"pool {name}")
        self._recovery = Recovery(
            name, store, self._tasks, remains=remains, put_back=self.put_back, on_final=on_final
        )
        self._growth: asyncio.TimerHandle | None = None
        self._seclusion = Seclusion(line, limits)

    # calls of the supervisor

    @property
    def is_starting(self) -> bool:
        """Whether one of its runners is starting."""
        return self._starting > 0

    @property
    def is_over(self) -> bool:
        """Whether it was retired and has no executions in line and no runners left."""
        return not (self._is_live or self.line or self.runners or self._starting)

    @property
    def is_live(self) -> bool:
        """Whether it has not been retired."""
        return self._is_live

    @property
    def has_work(self) -> bool:
        """Whether any of its executions run or wait."""
        return bool(self.line) or any(runner.running for runner in self.runners.values())

    @property
    def trouble(self) -> str | None:
        """Why the last runner failed; None after another one has worked."""
        return self._setbacks.trouble

    def places(self, flow: str) -> int:
        """Return how many executions of a flow the pool could take if all its runners were up."""
        used = sum(
            self.limits.concurrency if runner.is_closed else len(runner.running)
            for runner in self.runners.values()
        )
        return self.limits.max * self.limits.concurrency - used - self.line.ready(but=flow)

    @property
    def why(self) -> str:
        """Why executions wait although the limits allow them to run."""
        if why := self._setbacks.why:
            return why
        if any(runner.is_attaching for runner in self.runners.values()):
            return "its runners have not answered yet since the control plane was restarted"
        busy = sum(bool(runner.running) for runner in self.runners.values())
        if self._starting:
            also = f", {busy} {verbal(busy, 'is')} busy" if busy else ""
            return f"a runner is starting{also}"
        return f"{counted(busy, 'runner', 'is')} busy of at most {self.limits.max}"

    @property
    def why_now(self) -> str:
        """The same as `why`, with the time of the next start if that is not soon."""
        return self.why + self._setbacks.next_try

    def why_alone(self, execution: Execution) -> str | None:
        """Return why an execution waits for a runner without others; None if it does not."""
        if not execution.runs_alone or self.limits.concurrency == 1 or self._setbacks.why:
            return None
        deaths = execution.deaths
        return f"its process died {deaths} times in a row, so it waits for a runner without others"

    def what(self, fid: str) -> str | None:
        """Return what an execution's runner does if it does not answer; None if it answers."""
        runner = self.runner_of(fid)
        return runner.vigil.says if runner else None

    def submit(self, execution: Execution) -> None:
        """Take an execution that the store has as queued."""
        self.line.put(execution)
        self.pump()

    def adopt(self, runner: Runner) -> None:
        """Take over a runner that already exists, with the executions it runs, and watch it."""
        self.runners[runner.id] = runner
        self._tasks.spawn(self._watch(runner))
        if runner.running:
            self._guard(runner)

    def progressed(self, fid: str) -> None:
        """Called when an execution has a new outcome of a step: it need not run alone any more."""
        runner = self.runner_of(fid)
        if runner is None:
            return
        if self._setbacks.trouble:
            self._setbacks.has_worked(runner.since)
        if runner.alone == fid:
            runner.alone = ""
            self.pump()

    def put_back(self, execution: Execution) -> None:
        """Put an execution back in line because its runner never began it."""
        if runner := self.runner_of(execution.fid):
            runner.running.discard(execution.fid)
        self.line.put_back(execution)
        self._on_step(execution.fid)
        self.pump()

    def settle_ended(self, fid: str) -> None:
        """Free the place of an execution. Called when it, or its attempt, has ended."""
        self.line.remove(fid)
        self._recovery.forget(fid)
        began = self._began.pop(fid, None)
        if began is not None:  # unknown if it was taken over from an earlier process
            took = time.monotonic() - began
            self.mean_s = took if self.mean_s is None else 0.8 * self.mean_s + 0.2 * took
        runner = self.runner_of(fid)
        if runner is None:
            return
        runner.running.discard(fid)
        runner.has_begun = True
        runner.served += 1
        self._setbacks.has_worked(runner.since)
        runner.idle_since = time.monotonic()
        if runner.deaf:
            self._tasks.spawn(self._free_neighbours(runner))
        if self.limits.executions is not None and runner.served >= self.limits.executions:
            runner.is_leaving = True

    async def cancel(self, fid: str, *, grace_s: float) -> None:
        """Ask an execution to end, and end it from outside if it has not after `grace_s` seconds.

        This does not wait for the runner's answer, because a runner that must be ended gives none.
        """
        runner = self.runner_of(fid)
        if runner is None:
            return
        asking = self._tasks.spawn(_asked_to_cancel(runner, fid))
        await asyncio.sleep(grace_s)
        asking.cancel()
        if fid not in runner.running:
            return
        log.warning("execution ignored its cancellation", extra={"fid": fid})
        # The runner takes nothing new. Its other executions go on, and its process ends after them,
        # or before if they cannot: see `_free_neighbours`.
        runner.is_leaving = True
        if runner.running == {fid}:
            self.runners.pop(runner.id, None)
            runner.running.clear()
            runner.give_up("it ignored a cancellation")
            self.keep_warm()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runner.is_over.wait(), _CANCEL_S)
        else:
            runner.deaf = fid
        await surely(lambda: self._store.executions.settle(fid, Status.CANCELLED))
        self._on_final(fid)

    async def _free_neighbours(self, runner: Runner) -> None:
        """End a process whose loop is blocked by an execution that ignores its cancellation.

        Only if all others there are durable, because they resume elsewhere. One that is not would
        be lost, although it may run in a thread, or go on once the loop does.
        """
        fids = runner.running - {runner.deaf}
        if not fids or runner.given_up.done():
            return
        for fid in fids:
            execution = await surely(functools.partial(self._store.executions.get, fid))
            if not execution.policy.durable:
                return
        try:
            async with asyncio.timeout(_SILENT_S):
                is_blocked = await runner.actor.is_blocked(runner.deaf)
        except TimeoutError:
            is_blocked = True  # it keeps even the runner's own loop from running
        except (KocoError, AttributeError):
            return  # it died, or is of an older koco
        if is_blocked:
            log.warning("runner %s of %s is ended: its loop is blocked", runner.id, self.name)
            runner.give_up("another execution ignored its cancellation and blocked the event loop")

    def retire(self) -> None:
        """Start nothing new, and end the runners once their executions and the line are done."""
        self._is_live = False
        for runner in list(self.runners.values()):
            self._trim(runner)

    def refresh(self) -> None:
        """Replace every runner with a new one. Running executions finish in the old ones."""
        self._generation += 1
        self._ensure_renewal()

    def keep_warm(self) -> None:
        """Start runners until `min` are there or starting."""
        if not self._is_live:
            return
        there = sum(not runner.is_leaving for runner in self.runners.values()) + self._starting
        self._grow_by(self.limits.min - there)

    def try_again(self) -> None:
        """Start a runner if none is there or starting, even if `min` is 0."""
        if self._is_live and not self.runners and not self._starting:
            self._grow_by(1)

    def trim(self) -> None:
        """End runners that have been idle for too long."""
        for runner in self.runners.values():
            if time.monotonic() - runner.since > LIVED_S:
                self._setbacks.has_worked(runner.since)
        if not (self._starting or self.line):
            self._setbacks.fade()
        for runner in list(self.runners.values()):
            self._trim(runner)

    # giving work out

    def pump(self) -> None:
        """Give waiting executions to runners with room, and consider growth for the rest."""
        self._seclusion.reserve(self.runners.values(), is_starting=self.is_starting)
        for runner in self.runners.values():
            while self._has_room(runner) and (
                execution := self._seclusion.take(runner, self.runners.values())
            ):
                runner.running.add(execution.fid)
                runner.assigning[execution.fid] = asyncio.Event()
                self._tasks.spawn(self._dispatch(execution, runner, runner.start))
                self._guard(runner)
            runner.start = None  # later executions did not wait for its start
        if self._growth is None and self.line.ready():
            loop = asyncio.get_running_loop()
            self._growth = loop.call_later(_PATIENCE_S, self._consider_growth)

    def _has_room(self, runner: Runner) -> bool:
        left = math.inf
        if self.limits.executions is not None:
            left = self.limits.executions - runner.served - len(runner.running)
        return (
            runner.is_ready
            and not runner.is_leaving
            and not self._seclusion.shuts(runner)
            and runner.vigil.says is None
            and len(runner.running) < self.limits.concurrency
            and left > 0
        )

    async def _dispatch(
        self, execution: Execution, runner: Runner, start: RunnerStart | None
    ) -> None:
        fid = execution.fid
        is_assigned = await surely(lambda: self._store.executions.assign(fid, runner.id, start))
        runner.assigning.pop(fid).set()
        if not is_assigned:
            # It was cancelled while it waited in line.
            runner.running.discard(fid)
            self.pump()
            return
        self._began[fid] = time.monotonic()
        self._on_step(fid)
        runner.launching[fid] = execution.entrypoint
        try:
            launch = await self._launch_of(execution)
            # What is imported first may hold up others that are taken together with it.
            is_plain = not (launch.entrypoint or launch.dialect)
            if not (is_plain and await self._handout.give(runner.id, launch)):
                await runner.actor.launch(launch)
        except KocoError:
            return  # the runner died: its watcher settles the execution
        except Exception as exc:
            # A fault of koco's, such as a runner of another version. The execution is settled here
            # because nothing else would end it.
            log.exception("runner %s of %s could not begin %s", runner.id, self.name, fid)
            text = f"the runner could not begin this execution: {type(exc).__name__}"
            error = FailureEvent(type="RunnerFailed", message=text)
            await surely(lambda: self._store.executions.settle(fid, Status.ERROR, error))
            self._on_final(fid)
        finally:
            runner.launching.pop(fid, None)

    async def _launch_of(self, execution: Execution) -> Launch:
        pickled = None
        if execution.dialect:
            pickled = await surely(lambda: self._store.executions.pickled(execution))
        run = trace_context.span_id(execution.fid, trace_context.RUN, execution.attempt)
        trace = execution.trace.below(run)
        return Launch(
            fid=execution.fid,
            flow=execution.flow.partition("/")[2],
            inputs=execution.inputs,
            entrypoint=execution.entrypoint,
            moments=execution.moments,
            dialect=execution.dialect,
            pickled=pickled,
            user=execution.user if execution.dialect else "",
            attempt=execution.attempt,
            durable=execution.policy.durable,
            has_past=execution.attempt > 1 or execution.resume_of is not None,
            origin=execution.origin or "",
            park_after_s=self._settings.park_after,
            step_bytes=int(self._settings.max_step_mb * MB),
            used=execution.used,
            traceparent=trace.parent,
            tracestate=trace.state,
        )

    def _guard(self, runner: Runner) -> None:
        """Start a vigil over a runner if none watches it yet. It lasts while there is work."""
        if runner.watch is None or runner.watch.done():
            runner.watch = self._tasks.spawn(self._keep_vigil(runner))

    async def _keep_vigil(self, runner: Runner) -> None:
        def has_work() -> bool:
            # Importing the entrypoints is work, too. The vigil skips a runner whose process is not
            # there yet.
            is_importing = not runner.is_ready and not runner.given_up.done()
            return bool(runner.running) or is_importing

        cause = await runner.vigil.keep(has_work, on_busy=lambda: self._withdraw(runner))
        if cause is not None:
            log.warning("runner %s of %s is given up: %s", runner.id, self.name, cause)
            runner.give_up(cause)

    def _withdraw(self, runner: Runner) -> None:
        """Take back executions that a runner cannot begin because code holds its interpreter."""
        silent_s = runner.vigil.silent_s
        for fid, imports in list(runner.launching.items()):
            if fid in runner.running and silent_s >= (_IMPORT_S if imports else _BEGIN_S):
                del runner.launching[fid]
                self._tasks.spawn(self._recovery.take_back(fid, runner))
        if not runner.running and runner.is_ready and silent_s >= _BEGIN_S:
            runner.is_leaving = True
            runner.give_up("code of an earlier execution in that process held the interpreter")

    def _consider_growth(self) -> None:
        self._growth = None
        since = self.line.since
        if since is None:
            return
        secluded = self._seclusion.demand(self.runners.values())
        count = self.line.ready() - self.line.ready_alone()
        if self.mean_s is None or time.monotonic() - since > _START_S:
            work = count / self.limits.concurrency
        else:
            # This many more runners clear the line in the time that a start takes.
            work = count * self.mean_s / (_START_S * self.limits.concurrency) - 1
        room = self.limits.max - len(self.runners) - self._starting
        attaching = sum(
            runner.is_attaching and len(runner.running) < self.limits.concurrency
            for runner in self.runners.values()
        )
        self._grow_by(min(room, math.ceil(work) + secluded - self._starting - attaching))
        loop = asyncio.get_running_loop()
        self._growth = loop.call_later(_START_S / 2, self._consider_growth)

    # coming and going

    def _grow_by(self, count: int) -> None:
        for _ in range(count):
            self._starting += 1
            self._tasks.spawn(self._bring_up())

    async def probe(self) -> Description:
        """Start a runner and import the entrypoints in it. The runner stays if that succeeds.

        Raises:
            EnvironmentFailed: its environment could not be built.
            RunnerDied: its process died during the start or the imports.
        """
        runner_id, generation = secrets.token_hex(4), self._generation
        self.was_awaited = True
        actor = await self._start(runner_id)
        runner = Runner(actor.id, actor, generation=generation)  # a spare has an id already
        self.newest = runner
        self._tasks.spawn(self._watch(runner))
        self._guard(runner)
        try:
            description = await self._describe(runner)
            if runner.has_ended:
                raise await runner.explain(RunnerDied(SHORT_LIVED))
        except BaseException:
            self.was_awaited = not runner.actor.is_there
            runner.give_up("its start was given up")  # it must not linger
            raise
        self.was_awaited = False
        if description.problems:
            runner.give_up("its entrypoints cannot be imported")
        else:
            runner.is_ready = True
            runner.start = self._start_of(runner, description)
            self.runners[runner.id] = runner
            if generation < self._generation:
                self._ensure_renewal()  # it fetched its secrets before they changed
        return description

    def _start_of(self, runner: Runner, description: Description) -> RunnerStart | None:
        """Return how long a runner took that is ready now, if executions wait for it."""
        if not self.line:
            return None
        environment_s = time.monotonic() - runner.since - description.took_s
        return RunnerStart(
            environment_s=max(0.0, round(environment_s, 3)), import_s=round(description.took_s, 3)
        )

    async def _describe(self, runner: Runner) -> Description:
        describing = asyncio.ensure_future(runner.actor.describe())
        try:
            await first(describing, runner.given_up)
            if not describing.done():
                raise KocoError(f"it was ended: {runner.given_up.result()}")
            return await describing
        except RunnerDied as exc:
            if ENDED not in exc.message:
                raise
            raise await runner.explain(exc) from exc
        finally:
            describing.cancel()

    async def _bring_up(self) -> bool:
        """Start a runner, after the pause that earlier failures ask for; return if it started."""
        is_there = False
        try:
            await asyncio.sleep(self._setbacks.pause_s)
            if not self._is_live and not self.line:
                return False
            description = await self.probe()
            if description.problems:
                problem = description.problems[0]
                raise KocoError(f"{problem.entrypoint}: {problem.message}")
            self._setbacks.has_started()
            is_there = True
        except Exception as exc:  # noqa: BLE001 - shown by `koco status` and retried
            pause_s = self._setbacks.add(str(exc))
            self.on_loss(Loss(str(exc)))
            text = "a runner of %s did not start, next try in %s s: %s"
            log.warning(text, self.name, pause_s, exc)
        finally:
            self._starting -= 1
        self.pump()
        self.keep_warm()
        if not self._is_live:
            self.trim()  # it was retired during the start, and its owner may have forgotten it
        return is_there

    def _ensure_renewal(self) -> None:
        if self._renewal is None or self._renewal.done():
            self._renewal = self._tasks.spawn(self._renew())

    async def _renew(self) -> None:
        """Replace the runners of earlier generations, one at a time."""
        while self._is_live and (runner := self._former()) is not None:
            if len(self.runners) + self._starting < self.limits.max:
                # Start the new one first, so that no execution waits for the start.
                self._starting += 1
                if not await self._bring_up():
                    continue  # keep the old one and try again; `_bring_up` pauses between tries
            runner.is_leaving = True
            self._trim(runner)

    def _former(self) -> Runner | None:
        former = (r for r in self.runners.values() if r.generation < self._generation)
        return next((each for each in former if not each.is_leaving), None)

    async def _watch(self, runner: Runner) -> None:
        cause = await runner.wait_for_end()
        runner.has_ended = True
        self._handout.close(runner.id)
        was_ready, fids = self.runners.pop(runner.id, None) is not None, frozenset(runner.running)
        if runner.watch:
            runner.watch.cancel()
        end = None if runner.is_seen_off else await self._recovery.bury(runner)
        if runner.given_up.done() or cause.startswith(memory.CAUSE):
            end = None  # koco ended it: that cause says more than the signal it was ended with
        runner.cause = cause = cause_of(cause, end)
        runner.end = end
        runner.is_over.set()
        for fid in sorted(runner.running):
            self._began.pop(fid, None)
            await self._recovery.settle(fid, runner, cause, end)
        runner.running.clear()
        if not was_ready:
            return
        if not runner.is_leaving:
            self.on_loss(Loss(cause, fids))
        if not (runner.has_begun or runner.is_leaving) and is_young(runner):
            pause_s = self._setbacks.add(cause, is_death=True)
            message = "a runner of %s ended before it began anything, next try in %s s: %s"
            log.warning(message, self.name, pause_s, cause)
        self.pump()
        self.keep_warm()

    def _trim(self, runner: Runner) -> None:
        if runner.running or not runner.is_ready:
            return
        idle_s = time.monotonic() - runner.idle_since
        is_spare = len(self.runners) > self.limits.min and idle_s >= self.limits.idle_timeout
        is_over = not self._is_live and not self.line
        if runner.is_leaving or is_spare or is_over:
            runner.is_leaving = True
            # Remove it at once, so that `_watch` does not take its end for an unexpected death.
            self.runners.pop(runner.id, None)
            runner.is_seen_off = True
            self._tasks.spawn(see_off(runner.actor))
            self.keep_warm()

    def runner_of(self, fid: str) -> Runner | None:
        """Return the runner that has an execution, if any."""
        return next((r for r in self.runners.values() if fid in r.running), None)


async def _asked_to_cancel(runner: Runner, fid: str) -> None:
    with contextlib.suppress(KocoError):  # the runner died: its watcher settles its executions
        await runner.actor.cancel(fid)
