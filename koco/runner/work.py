"""One execution in this process, from its launch to its end, and everything that belongs to it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from koco import trace_context
from koco.events import line, steps
from koco.events.model import Kind
from koco.events.questions import ReadHistory
from koco.events.used import Used
from koco.runner.flow import Flow, Run
from koco.runner.output.lines import Output
from koco.runner.output.partial_lines import Lines
from koco.runner.output.replay import Replay
from koco.runner.output.spool import Attempt
from koco.runner.parking import Parking
from koco.runner.spec import Launch
from koco.sdk.process import span
from koco.sdk.ray_work.registry import Started
from koco.sdk.steps.journal import Journal
from koco.sdk.tracer import Tracer

#: How long a flow may take to end after its execution has left (seconds).
_UNWIND_S = 5.0


@dataclass(slots=True, eq=False)
class Work:
    """One attempt of an execution. See `prepare`."""

    launch: Launch
    run: Run
    output: Output
    sink: Attempt
    journal: Journal
    #: What it has started in Ray.
    started: Started
    #: Drops the events that are stored already, if it is durable.
    replay: Replay | None
    #: Watches whether it only waits: if it is durable, and while it runs.
    parking: Parking | None = None
    #: Whether it no longer belongs to this runner: its flow unwinds, and nobody sees that.
    is_parted: bool = False

    async def read_past(self) -> None:
        """Read what is stored of it, because its flow runs again from its top.

        Called before it counts as running: if this process dies meanwhile, nothing has begun.
        """
        if not self.launch.has_past:
            return
        try:
            answer = await self.sink.ask_async(self.launch.fid, ReadHistory())
        except asyncio.CancelledError:
            if self.run.is_cancelled:
                return  # so it does not begin at all
            raise
        past = steps.decode_past(answer)
        self.journal.load(past)
        if self.replay is not None:
            self.replay.load(past.marks)

    def watch(
        self,
        *,
        flows: asyncio.AbstractEventLoop,
        used: Callable[[], Used],
        part: Callable[[], None],
    ) -> None:
        """Ask to park it once it only waits; `part` is called if it then is.

        `used` returns what it has used so far.
        """
        self.parking = Parking(
            self.launch.fid,
            self.run,
            self.journal,
            output=self.output,
            sink=self.sink,
            flows=flows,
            after_s=self.launch.park_after_s,
            used=used,
            part=part,
        )

    def part(self) -> None:
        """Let its flow end without anything more being recorded, because it goes on elsewhere."""
        self.is_parted = True
        self.journal.close(asyncio.CancelledError())
        self.stop_watching()
        self.run.cancel()

    def stop_watching(self) -> None:
        """Do not ask to park it any more."""
        if self.parking is not None:
            self.parking.end()
            self.parking = None


def prepare(
    launch: Launch,
    flow: Flow,
    inputs: Any,
    *,
    sink: Attempt,
    lines: Lines | None,
    loop: asyncio.AbstractEventLoop,
) -> Work:
    """Make what an execution needs in this process."""
    replay = Replay(sink) if launch.durable else None
    journal = Journal(
        launch.fid,
        replay or sink,
        origin=launch.origin,
        durable=launch.durable,
        step_bytes=launch.step_bytes,
    )

    def emit(kind: Kind, text: str) -> None:
        if replay is None:
            sink.put(launch.fid, line.encode(kind, text), output.kept)
        else:
            replay.put_line(launch.fid, kind, text, output)

    # A durable flow prints an unfinished line again when it resumes. A line that was kept from its
    # former process as well would be there twice.
    output = Output(emit, lines=None if launch.durable else lines)
    output.started = started = Started()
    output.tracer = flow.trace(Tracer(launch.fid, replay or sink, journal))
    trace = trace_context.parse(launch.traceparent, [launch.tracestate])

    def enter() -> None:
        journal.enter()
        span.enter(trace)

    run = Run(
        flow,
        inputs,
        tracer=output.tracer,
        output=output,
        loop=loop,
        enter=enter,
        leave=journal.leave,
    )
    return Work(launch, run, output, sink, journal, started, replay)


class Parted:
    """The flows that still unwind here although their executions have left this runner.

    `on_stuck` is called if one takes too long.
    """

    def __init__(self, on_stuck: Callable[[], None]) -> None:
        self._on_stuck = on_stuck
        self._timers: dict[Work, asyncio.TimerHandle] = {}
        self._left = asyncio.Event()
        self._left.set()

    def __len__(self) -> int:
        return len(self._timers)

    def add(self, mine: Work) -> None:
        """Wait for the end of a flow."""
        loop = asyncio.get_running_loop()
        self._timers[mine] = loop.call_later(_UNWIND_S, self._on_stuck)
        self._left.clear()

    def remove(self, mine: Work) -> None:
        """Called when a flow has ended."""
        self._timers.pop(mine).cancel()
        if not self._timers:
            self._left.set()

    async def wait(self) -> None:
        """Wait until all have ended."""
        await self._left.wait()
