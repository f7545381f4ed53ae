"""Let a Ray task or actor work for an execution; this is the part inside its process.

A tracer that arrives there names the execution. From then on the process's output belongs to the
execution: until the task ends or, if an actor's constructor got the tracer, for the actor's whole
life. Printed lines are gathered and not committed one by one; a task's are committed before it
returns.
"""

import functools
import threading
import time
from collections.abc import Callable

from koco.errors import UnreachableError
from koco.events import line
from koco.events.model import Kind
from koco.runner.output.capture import Capture
from koco.runner.output.lines import Output, current
from koco.sdk import tracer
from koco.sdk.process import span
from koco.sdk.process.control_client import Control
from koco.sdk.ray_work import calls, tasks
from koco.sdk.ray_work.calls import Call
from koco.sdk.ray_work.task_events import RemoteSink, remote_sink
from koco.sdk.tracer import Tracer, sink_of, trace_of

#: How long printed lines wait for more lines (seconds).
_GATHER_S = 0.02


def sink(control: Control, attempt: int = 0) -> RemoteSink:
    """Return the sink of this process's tracers; let arriving tracers begin work here."""
    tracer.on_arrival, calls.on_tracer = calls.assign_call, _begin_work
    return remote_sink(control, attempt, make=sink)


class Work:
    """This process's work for an execution: while it goes on, output goes to the execution."""

    def __init__(self, tracer: Tracer, name: str) -> None:
        self._name = name
        self.tracer = tracer
        self.output = Output(self._emit)
        self.output.tracer = tracer
        sink = sink_of(tracer)
        assert isinstance(sink, RemoteSink)
        self._producer = sink.producer(tracer.fid)

    def _emit(self, kind: Kind, text: str) -> None:
        self._producer.gather(line.encode(kind, text, task=self._name))
        try:
            _flusher().wake(self)
        except RuntimeError:
            self.flush()  # no memory for a thread: that must not hide the task's own error

    def flush(self) -> None:
        """Commit printed lines. Once the execution is over, print to Ray's log again."""
        try:
            self._producer.flush()
        except UnreachableError:
            self.output.finish()
        if self._producer.is_closed:
            self.output.finish()


def _begin_work(arriving: Tracer, call: Call) -> None:
    capture = _capture()
    mine = capture.output()
    if current.get() is not None or (mine and mine.tracer and mine.tracer.fid == arriving.fid):
        return
    span.enter(trace_of(arriving))
    work = Work(arriving, _name(call))
    if call.is_constructor:
        _keep_for_actor(work, call, capture)
        return
    is_sole = capture.dedicated and capture.sole is None
    if is_sole:
        capture.begin(work.output)
    current.set(work.output)

    def end() -> None:
        current.set(None)
        span.enter(None)  # its thread may run a task of another execution next
        if is_sole or not capture.dedicated:
            capture.end(work.output)
        else:
            work.output.finish()
        work.flush()

    call.endings.append(end)


def _keep_for_actor(work: Work, call: Call, capture: Capture) -> None:
    """Let an actor work for an execution as long as the actor lives."""
    capture.begin(work.output)
    capture.sole = work.output

    def flush() -> None:
        capture.drain()
        work.flush()

    call.endings.append(flush)

    def begin_method(each: Call) -> None:
        span.enter(trace_of(work.tracer))
        # Its output is committed before the method returns.
        each.endings.append(flush)

    calls.on_begin.append(begin_method)


def _name(call: Call) -> str:
    """Return a task's name for readers: of its function, or of the actor's class."""
    import ray

    name = str(ray.get_runtime_context().get_task_name() or "task").rpartition("<locals>.")[2]
    return name.partition(".")[0] if call.is_constructor else name


@functools.cache
def _capture() -> Capture:
    """Return this process's capture; install it on the first call."""
    import ray

    worker = ray._private.worker.global_worker
    core = worker.core_worker
    is_sole = worker.actor_id.is_nil() or (
        not core.current_actor_is_asyncio() and core.current_actor_max_concurrency() == 1
    )
    capture = Capture(dedicated=is_sole)
    capture.install()
    tasks.current_tracer = capture.tracer
    return capture


class _Flusher:
    """Commits recently printed lines, in a thread that sleeps while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._works: dict[Work, None] = {}
        threading.Thread(target=self._run, name="koco-flusher", daemon=True).start()

    def wake(self, work: Work) -> None:
        with self._changed:
            if not self._works:
                self._changed.notify()
            self._works[work] = None

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._works:
                    self._changed.wait()
            time.sleep(_GATHER_S)
            with self._changed:
                works, self._works = self._works, {}
            for work in works:
                work.flush()


_flusher: Callable[[], _Flusher] = functools.cache(_Flusher)
