"""What executions use of their process: time, CPU time and memory.

An execution that has the process to itself is charged with all of it, and with the subprocesses
that have ended. In a process that executions share, a flow in a thread of its own is charged with
that thread, and each async flow with an equal part of the CPU time of the loop that they share:
what one of them takes from the others cannot be told apart without slowing down every step. The
memory is then that of the whole process.
"""

import contextlib
import os
import re
import resource
from collections.abc import Callable

# The functions themselves: flows may replace those of the module.
from time import monotonic, process_time

from koco.events.used import Used

#: Linux: writing this resets the highest memory use that the kernel remembers of the process.
_CLEAR_REFS, _RESET = "/proc/self/clear_refs", b"5"
#: Linux: where it tells that memory use, in KiB. `getrusage` does not forget, and begins with what
#: the program had that started this one.
_STATUS, _PEAK = "/proc/self/status", re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
#: More than the kernel tells of a process.
_STATUS_SIZE = 64 * 1024


class Meter:
    """Measures this process. It and its gauges belong to one thread."""

    def __init__(self, *, dedicated: bool, loop_clock: Callable[[], float]) -> None:
        """`loop_clock` returns the CPU time of the thread in which async flows run."""
        self._dedicated = dedicated
        self._share = _Share(loop_clock)
        self._running = 0
        self._peak = _Peak()

    def begin(
        self,
        before: Used | None,
        *,
        thread_cpu_s: Callable[[], float] | None,
        ray_tasks: Callable[[], int],
    ) -> "Gauge":
        """Begin to measure an execution.

        `before` is what it has used in other processes. `thread_cpu_s` returns the CPU time of its
        own threads that have ended; None if it runs on the loop.
        """
        if not self._running:
            self._peak.reset()
        self._running += 1
        on_end = self._end
        if self._dedicated:
            cpu_s = _since_now(_process_cpu_s)
        elif thread_cpu_s is not None:
            cpu_s = thread_cpu_s
        else:
            self._share.join()
            cpu_s, on_end = _since_now(self._share.of_one), self._end_of_part
        return Gauge(before or Used(), cpu_s, self._peak.read, ray_tasks=ray_tasks, on_end=on_end)

    def _end(self) -> None:
        self._running -= 1

    def _end_of_part(self) -> None:
        self._share.leave()
        self._end()


class Gauge:
    """Measures one execution in this process."""

    def __init__(
        self,
        before: Used,
        cpu_s: Callable[[], float],
        peak_bytes: Callable[[], int],
        *,
        ray_tasks: Callable[[], int],
        on_end: Callable[[], None],
    ) -> None:
        self._before = before
        self._cpu_s = cpu_s
        self._peak_bytes = peak_bytes
        self._ray_tasks = ray_tasks
        self._on_end = on_end
        self._since = monotonic()
        self._last: Used | None = None

    def read(self) -> Used:
        """Return what it has used so far, in earlier processes as well."""
        return self._last or self._measure()

    def end(self) -> None:
        """Stop measuring: from now on, `read` returns the same."""
        if self._last is None:
            self._last = self._measure()
            self._on_end()

    def _measure(self) -> Used:
        here = Used(
            wall_s=monotonic() - self._since,
            cpu_s=max(self._cpu_s(), 0.0),
            peak_memory_bytes=self._peak_bytes(),
            ray_tasks=self._ray_tasks(),
        )
        # The flow's code shares this process: whatever it has replaced, its execution goes on.
        return self._before.plus(here) if here.is_sound else self._before


class _Peak:
    """The highest memory use of this process since the last reset."""

    def __init__(self) -> None:
        # Not on this system, or not permitted: then peaks are of the whole life of the process.
        self._clear_refs = _open(_CLEAR_REFS, os.O_WRONLY)
        self._status = _open(_STATUS, os.O_RDONLY)

    def reset(self) -> None:
        if self._clear_refs is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._clear_refs, _RESET, 0)

    def read(self) -> int:
        if self._status is not None:
            with contextlib.suppress(OSError):
                if found := _PEAK.search(os.pread(self._status, _STATUS_SIZE, 0)):
                    return int(found[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _open(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None


def _since_now(clock: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that begins at 0 now."""
    start = clock()
    return lambda: clock() - start


def _process_cpu_s() -> float:
    """Return the CPU time of this process, and of its subprocesses that have ended (seconds)."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


class _Share:
    """Divides a clock's time equally among those that run at that moment.

    It only counts how much one of them would have got since the beginning of time, so that nothing
    has to be done for each of them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._members = 0
        self._last = 0.0
        self._of_one = 0.0

    def join(self) -> None:
        self._settle()
        self._members += 1

    def leave(self) -> None:
        self._settle()
        self._members -= 1

    def of_one(self) -> float:
        self._settle()
        return self._of_one

    def _settle(self) -> None:
        now = self._clock()
        if self._members:
            self._of_one += (now - self._last) / self._members
        self._last = now
