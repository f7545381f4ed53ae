"""A Ray task or actor that works for an execution, from inside its process.

A tracer that arrives there says for which. From then on what the process prints is the
execution's: until the task ends or, if an actor's constructor was handed it, while the actor
lives. Lines are gathered and not committed one by one; a task's are before it returns.
"""

import functools
import threading
import time
from collections.abc import Callable

from koco.errors import UnreachableError
from koco.events import line
from koco.events.model import Kind
from koco.runner.capture import Capture
from koco.runner.output import Output, current
from koco.sdk import calls, tasks, tracer
from koco.sdk.calls import Call
from koco.sdk.control import Control
from koco.sdk.remote import RemoteSink, remote_sink
from koco.sdk.tracer import Tracer, sink_of

#: How long printed lines wait for more of them (seconds).
_GATHER_S = 0.02


def sink(control: Control, attempt: int = 0) -> RemoteSink:
    """Return what a tracer writes to in this process; have arriving tracers begin work here."""
    tracer.on_arrival, calls.on_tracer = calls.attend, _begin
    return remote_sink(control, attempt, make=sink)


class Work:
    """What this process does for an execution: its output goes there, while that goes on."""

    def __init__(self, tracer: Tracer, name: str) -> None:
        self._name = name
        self._tracer = tracer
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
            self.flush()  # no memory for its thread, which must not hide what the task raised

    def flush(self) -> None:
        """Commit what was printed; from the execution's end on, print to Ray's log again."""
        try:
            self._producer.flush()
        except UnreachableError:
            self.output.finish()
        if self._producer.is_closed:
            self.output.finish()


def _begin(arriving: Tracer, call: Call) -> None:
    capture = _capture()
    mine = capture.output()
    if current.get() is not None or (mine and mine.tracer and mine.tracer.fid == arriving.fid):
        return
    work = Work(arriving, _name(call))
    if call.is_constructor:
        _keep(work, call, capture)
        return
    is_sole = capture.dedicated and capture.sole is None
    if is_sole:
        capture.begin(work.output)
    current.set(work.output)

    def end() -> None:
        current.set(None)
        if is_sole or not capture.dedicated:
            capture.end(work.output)
        else:
            work.output.finish()
        work.flush()

    call.endings.append(end)


def _keep(work: Work, call: Call, capture: Capture) -> None:
    """Have an actor work for an execution as long as it lives."""
    capture.begin(work.output)
    capture.sole = work.output

    def flush() -> None:
        capture.drain()
        work.flush()

    call.endings.append(flush)
    # What a method prints is committed before it returns.
    calls.on_begin.append(lambda each: each.endings.append(flush))


def _name(call: Call) -> str:
    """Return what a reader knows a task by: the name of its function, or of its actor's class."""
    import ray

    name = str(ray.get_runtime_context().get_task_name() or "task").rpartition("<locals>.")[2]
    return name.partition(".")[0] if call.is_constructor else name


@functools.cache
def _capture() -> Capture:
    """Return this process's capture, installed the first time."""
    import ray

    worker = ray._private.worker.global_worker
    core = worker.core_worker
    is_sole = worker.actor_id.is_nil() or (
        not core.current_actor_is_asyncio() and core.current_actor_max_concurrency() == 1
    )
    capture = Capture(dedicated=is_sole)
    capture.install()

    def tracer_here() -> Tracer | None:
        output = capture.output()
        return output.tracer if output else None

    tasks.here = tracer_here
    return capture


class _Flusher:
    """Commits what was printed a moment ago, in a thread that sleeps while nothing is."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._works: dict[Work, None] = {}
        threading.Thread(target=self._run, name="koco-flusher", daemon=True).start()

    def wake(self, work: Work) -> None:
        """Commit what a work has printed soon."""
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
