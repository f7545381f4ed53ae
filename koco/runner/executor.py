"""The work of a runner: import the entrypoints of its release, and run executions of them."""

import asyncio
import functools
import gc
import logging
import os
import signal
import time
from typing import Any, TypeVar

import msgspec
import ray

from koco.errors import UnreachableError
from koco.events.model import Kind, Status
from koco.plurals import counted
from koco.runner import (
    description,
    flows,
    ray_cleanup,
    result_encoding,
    stack_report,
    task_crash,
    work,
)
from koco.runner.event_loop import FlowLoop
from koco.runner.flow import Outcome
from koco.runner.flows import Flows
from koco.runner.home import Home
from koco.runner.intake import Intake
from koco.runner.output.capture import Capture
from koco.runner.output.spool import Spool
from koco.runner.process import identity, memory_watch
from koco.runner.process.memory_watch import Watch
from koco.runner.process.meter import Meter
from koco.runner.process.pulse import Pulse
from koco.runner.process.shared_state import Shared
from koco.runner.spec import PROTOCOL, Launch, Presence, RunnerSpec
from koco.runner.work import Parted, Work
from koco.sdk.process import late_bundle, local_socket, memory
from koco.sdk.process.control_client import Control
from koco.sdk.process.tracebacks import describe
from koco.sdk.ray_work import registry, tasks
from koco.sdk.ray_work.registry import Started

#: How long a runner that uses too much memory may take to report it (seconds).
_FAREWELL_S = 1.0
#: How long the flows' loop may take to answer until it counts as blocked (seconds).
_BLOCKED_S = 5.0
#: How many executions are remembered that were cancelled early, or began here.
_REMEMBERED = 1000

T = TypeVar("T")

log = logging.getLogger(__name__)


class Executor:
    """Runs executions of one release. Its actor (`koco.runner.actor`) forwards all calls to it."""

    def __init__(self, spec: bytes, control: Any) -> None:
        self._spec = msgspec.json.decode(spec, type=RunnerSpec)
        self._control = Control(control)
        self._socket = local_socket.LocalSocket(local_socket.path())
        self._flows = Flows(self._spec.flows, dialect=self._spec.dialect)
        self._launching: set[str] = set()
        #: Executions that were cancelled before their launch came, or while their module is being
        #: imported.
        self._cancelled_early: dict[str, None] = {}
        #: The latest executions that began here, and their attempts: a launch may come twice.
        self._began: dict[str, int] = {}
        self._is_ready = False
        self._shared: Shared | None = None
        #: The executions that belong to this runner, and those that have left it but still unwind.
        self._works: dict[str, Work] = {}
        self._parted = Parted(self._on_stuck)
        self._served = 0
        self._held = asyncio.Event()
        #: Why this process must end although it works; empty if it need not.
        self._exceeded = ""
        #: Whether this process takes no new execution, because one has left too much in its
        #: memory or has changed something that cannot be restored.
        self._is_spent = False
        identity.restore_sigterm()
        self._directory = Home(self._spec.id)
        dedicated = self._spec.concurrency == 1
        self._capture = Capture(
            dedicated=dedicated,
            on_pipes=self._directory.hand_over,
            files=self._directory.open_pipe_files() if dedicated else None,
        )
        self._capture.install()
        registry.install(self._current_started)
        tasks.current_tracer = self._capture.tracer
        # Flows run in their own threads, so waiting for Ray blocks nothing else. Ray would
        # still warn, into the first flow's stderr.
        ray._private.worker.blocking_get_inside_async_warned = True
        self._spool = Spool(
            self._spec.id,
            functools.partial(self._call_control, "append"),
            question=functools.partial(self._call_control, "ask"),
            control=self._control,
            backlog=self._directory.backlog,
            on_closed=self._on_closed,
        )
        self._loop = FlowLoop()
        self._loop.start()
        self._meter = Meter(dedicated=dedicated, loop_clock=self._loop.cpu_s)
        self._pulse = Pulse()
        identity.lead_process_group(self._spec.id)
        self._home = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._spawn(self._spool.run())
        self._intake = Intake(self._spec.id, self._socket, self._take)
        self._spawn(self._intake.run())
        limit = memory.current()
        self._watch = Watch(limit, self._end_out_of_memory) if limit else None

    async def describe(self, spec: bytes = b"") -> bytes:
        """Import every entrypoint; return a `Description`. A spare gets its `spec` only now."""
        if spec:
            self._spec = msgspec.json.decode(spec, type=RunnerSpec)
            self._flows = Flows(self._spec.flows, dialect=self._spec.dialect)
        if os.environ.get(late_bundle.VARIABLE) and not await asyncio.to_thread(late_bundle.fetch):
            raise RuntimeError("the release's bundle is not there yet")
        described = await description.describe(self._spec, self._flows)
        self._is_ready = not described.problems
        self._shared = Shared()  # the state after the author's modules were imported
        # What is imported stays. Without it, a collection takes microseconds instead of 20 ms.
        gc.collect()
        gc.freeze()
        # JSON, because its numbers can have any size.
        return msgspec.json.encode(described)

    async def attach(self) -> bytes:
        """Return this runner's `Presence`."""
        context = ray.get_runtime_context()
        return msgspec.msgpack.encode(
            Presence(
                pid=os.getpid(),
                node=context.get_node_id(),
                fids=self._spool.held,
                served=self._served,
                is_ready=self._is_ready,
                protocol=PROTOCOL,
                started=identity.identify().started,
                pulse=self._pulse.id,
            )
        )

    def turn_to(self, control: Any, node: str) -> None:
        """Turn to the process of the control plane that leads now, on the node of this id."""
        self._control.turn_to(control)
        self._socket.turn_to(is_near=node == ray.get_runtime_context().get_node_id())

    async def hold(self) -> None:
        """Stay pending until `end` is called.

        Raises `memory.MemoryExceeded` if this runner uses more memory than its limit, and ends now.
        """
        await self._held.wait()
        if self._exceeded:
            raise memory.MemoryExceeded(self._exceeded)

    async def end(self) -> None:
        """Let `hold` return, run exit handlers and leave. Called when nothing runs here."""
        self._directory.leave()
        self._held.set()
        await asyncio.sleep(0)
        ray.actor.exit_actor()

    async def launch(self, blob: bytes) -> None:
        """Begin an execution; return before it ends. A repeated call changes nothing."""
        self._intake.try_again()
        await self._launch(msgspec.json.decode(blob, type=Launch))

    async def _take(self, blob: bytes) -> bool:
        """Begin an execution whose launch came over the socket; return whether it has begun."""
        if self._is_spent:
            return False
        try:
            await self._launch(msgspec.json.decode(blob, type=Launch))
        except Exception:
            log.exception("an execution could not begin")  # the actor is called, and answers why
            return False
        return True

    async def _launch(self, launch: Launch) -> None:
        if launch.fid in self._launching or self._began.get(launch.fid, -1) >= launch.attempt:
            return
        if (former := self._works.get(launch.fid)) is not None:
            if launch.attempt <= former.launch.attempt:
                return
            self._part(former)  # it was parked and woken before this runner was told
        if self._is_spent:
            await asyncio.Future()  # it never began, so it is queued again when this process ends
        self._pulse.set_active(True)
        sink = self._spool.open(launch.fid, launch.attempt)
        self._launching.add(launch.fid)
        try:
            flow, inputs = await self._flows.prepare(launch)
            lines = self._directory.lines_of(launch.fid, launch.attempt)
            made = work.prepare(launch, flow, inputs, sink=sink, lines=lines, loop=self._loop)
            self._works[launch.fid] = made
        finally:
            # If it could not begin, the next call for it says why, too.
            self._launching.discard(launch.fid)
        if self._watch:
            self._watch.begin()
        if launch.fid in self._cancelled_early:
            del self._cancelled_early[launch.fid]
            made.run.cancel()
        self._spawn(self._run(made))

    async def cancel(self, fid: str) -> None:
        """Ask an execution to end."""
        if fid in self._works:
            self._stop_execution(fid)
        else:
            # It is launching, or its launch is in the socket still. What was cancelled is never
            # launched again.
            _remember(self._cancelled_early, fid, None)

    async def is_blocked(self, by: str) -> bool:
        """Return whether others cannot go on, because an execution blocks the loop they share."""
        others = [work.run for fid, work in self._works.items() if fid != by]
        need_loop = any(run.is_async or run.task is not None for run in others)
        return need_loop and await self._loop.is_blocked(_BLOCKED_S)

    async def stack(self, fid: str, *, everything: bool) -> bytes:
        """Return the current stacks of an execution; see `koco.sdk.process.stacks`."""
        run = self._works[fid].run if fid in self._works else None
        found = stack_report.stacks_of(
            run, self._loop, everything=everything, has_returned=fid not in self._launching
        )
        if not everything and len(self._works) == 1:
            found += stack_report.stacks_of_other_threads(run, self._loop)
        return msgspec.msgpack.encode(found)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: "asyncio.Task[Any]") -> None:
        """End this process if one of koco's own tasks ended unexpectedly.

        An author's code can reach such a task, for example through `gc.get_objects()`. Without it
        the runner would still answer, but its executions would never be settled.
        """
        self._tasks.discard(task)
        is_leaving = self._held.is_set()
        if not is_leaving and (task.cancelled() or task.exception() is not None):
            exc = None if task.cancelled() else task.exception()
            log.error("a task of koco's in this process was ended", exc_info=exc)
            os._exit(identity.FAILED)

    async def _run(self, mine: Work) -> None:
        fid, since = mine.launch.fid, time.time()
        try:
            if self._capture.dedicated:
                await self._parted.wait()  # they may still print into the same pipes
            await mine.read_past()
            # Once this is committed, the execution belongs to this runner alone.
            # Until then no user code has run.
            if not await self._spool.mark(fid, Status.RUNNING):
                return
            _remember(self._began, fid, mine.launch.attempt)
            outcome = await self._outcome(mine)
        except Exception as exc:  # noqa: BLE001 - after a bug in koco it must not stay "running"
            outcome = Outcome(Status.ERROR, Kind.ERROR, describe(exc))
        finally:
            await self._leave(mine)
        if mine.is_parted:
            self._exit_if_spent()
            return
        try:
            await self._conclude(mine, outcome, since)
        except Exception as exc:  # a bug in koco, as above
            log.exception("could not send the outcome of an execution")
            try:
                await self._send_outcome(fid, Outcome(Status.ERROR, Kind.ERROR, describe(exc)))
            except Exception:
                log.exception("could not send the error either")
                os._exit(identity.FAILED)  # the control plane settles executions of dead runners

    async def _outcome(self, mine: Work) -> Outcome:
        """Call the flow, and capture its output."""
        launch = mine.launch
        if self._capture.dedicated:
            self._directory.set_pipe_owner(launch.fid, launch.attempt)
        flows.enter(launch, is_alone=self._capture.dedicated)
        self._capture.begin(mine.output)
        gauge = self._meter.begin(
            launch.used,
            thread_cpu_s=None if mine.run.is_async else lambda: mine.run.thread_cpu_s,
            ray_tasks=lambda: mine.started.count,
        )
        self._spool.measure(launch.fid, launch.attempt, gauge.read)
        mine.journal.refusals.on_stuck = functools.partial(self._on_stuck_in_error, mine)
        if launch.durable:
            part = functools.partial(self._part, mine)
            mine.watch(flows=self._loop, used=gauge.read, part=part)
        try:
            outcome = await mine.run.outcome()
        finally:
            mine.stop_watching()
            gauge.end()
        is_alone = len(self._works) + len(self._parted) == 1
        if self._shared is not None and not self._shared.restore(is_alone=is_alone):
            self._is_spent = True
        # The remaining output may have to wait for room in the spool, which this loop makes.
        if not self._capture.end_if_empty(mine.output):
            await asyncio.to_thread(self._capture.end, mine.output)
        if (failure := mine.journal.failure) is not None:
            return Outcome(Status.ERROR, Kind.ERROR, describe(failure))
        return outcome

    async def _leave(self, mine: Work) -> None:
        """Free the place of an execution whose flow has ended."""
        await flows.leave(mine.launch)
        mine.journal.let_go()
        self._served += 1
        if mine.is_parted:
            self._parted.remove(mine)
            if self._capture.dedicated:
                self._directory.set_pipe_owner("", 0)
        else:
            del self._works[mine.launch.fid]
        self._pulse.set_active(bool(self._works or self._launching))
        if self._watch and not self._works:
            self._watch.pause()

    def _part(self, mine: Work) -> None:
        """Let go of an execution that no longer belongs to this runner; its flow still unwinds."""
        fid = mine.launch.fid
        if self._works.get(fid) is not mine:
            return
        del self._works[fid]
        self._parted.add(mine)
        mine.part()
        self._spool.drop(fid, mine.launch.attempt)
        ray_cleanup.end(mine.started, fid, self._control, keep=False)

    def _on_stuck(self) -> None:
        """A parted flow does not end: only the end of this process will end it."""
        self._is_spent = True
        # With one place, the next execution waits for it, and has not begun.
        if self._capture.dedicated:
            os._exit(0)
        self._exit_if_spent()

    def _on_stuck_in_error(self, mine: Work) -> None:
        """Called in any thread: a flow that has failed with `NonDeterministic` does not end."""
        if (failure := mine.journal.failure) is not None:
            self._is_spent = True
            mine.run.abandon(failure)

    def _exit_if_spent(self) -> None:
        if self._is_spent and not self._works:
            os._exit(0)  # the next execution gets a fresh process

    async def _conclude(self, mine: Work, outcome: Outcome, since: float) -> None:
        """Send the outcome of an execution, and leave if no other may run here."""
        fid = mine.launch.fid
        keep = outcome.status is Status.FINISHED
        ray_cleanup.end(mine.started, fid, self._control, keep=keep)
        is_error = outcome.kind is Kind.ERROR
        if is_error and task_crash.is_crash(outcome.payload):
            outcome = await self._add_crash_cause(fid, outcome, since)
        ran_out = is_error and memory.is_out_of_memory(outcome.payload)
        if ran_out and not self._works:
            gc.collect()
            # Before the outcome is sent: after that, this runner may get another execution.
            self._is_spent = self._is_spent or memory.is_crowded()
        await self._send_outcome(fid, outcome)
        if self._capture.dedicated and not self._works:
            self._directory.set_pipe_owner("", 0)
        if ran_out and self._is_spent:
            await asyncio.to_thread(self._end_out_of_memory, outcome.payload["message"])
        elif ran_out:
            memory.restore()
        else:
            self._exit_if_spent()

    def _current_started(self) -> Started | None:
        """Return the record of Ray tasks and actors of the execution whose code runs here."""
        output = self._capture.output()
        return output.started if output else None

    async def _add_crash_cause(self, fid: str, outcome: Outcome, since: float) -> Outcome:
        payload = await task_crash.add_cause(
            outcome.payload,
            release=f"{self._spec.service}/{self._spec.release}",
            since=since,
            ask=lambda question: self._spool.ask_async(fid, question),
        )
        return Outcome(outcome.status, outcome.kind, payload)

    async def _send_outcome(self, fid: str, outcome: Outcome) -> None:
        if outcome.kind is not None:
            event = await result_encoding.encode_event(outcome.kind, outcome.payload)
            # Without waiting for room: while it waited, it could be lost with this process.
            self._spool.record(fid, event)
        await self._spool.mark(fid, outcome.status)

    def _end_out_of_memory(self, message: str) -> None:
        """End this process because it uses too much memory. Called from another thread."""
        memory_watch.kill_descendants(os.getpid())  # they may use the memory that is missing
        self._home.call_soon_threadsafe(self._fail_hold, message)
        time.sleep(_FAREWELL_S)
        os.kill(os.getpid(), signal.SIGKILL)

    def _fail_hold(self, message: str) -> None:
        others = len(self._works) - 1
        if others > 0:
            message += f", in a process with {counted(others, 'other execution')}"
        self._exceeded = memory.CAUSE + message
        self._held.set()

    def _on_closed(self, fid: str) -> None:
        if mine := self._works.get(fid):
            mine.journal.close(asyncio.CancelledError())
        self._stop_execution(fid)

    def _stop_execution(self, fid: str) -> None:
        """Stop an execution that was cancelled, ended or given to another runner."""
        if mine := self._works.get(fid):
            mine.run.cancel()
            self._spool.forget_questions(fid)
            ray_cleanup.interrupt(mine.started)

    async def _call_control(self, method: str, blob: bytes) -> bytes:
        try:
            answer = await self._socket.call(method, blob)
            return await self._control.call(method, blob) if answer is None else answer
        except UnreachableError:
            # The control plane was shut down for good, so there is nowhere to send the rest.
            self._directory.leave()
            os._exit(0)


def _remember(known: dict[str, T], fid: str, what: T) -> None:
    """Add an entry, in place of the oldest one if there are many."""
    known[fid] = what
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]
