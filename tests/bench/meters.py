"""What figures are made of: percentiles, and the CPU and memory that processes use."""

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

MB = 1e6


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the far end of many samples, in their unit."""

    p50: float
    p99: float
    count: int

    @classmethod
    def of(cls, samples: list[float]) -> "Spread":
        """Return the spread of samples."""
        ranked = sorted(samples)
        return cls(
            statistics.median(ranked),
            ranked[min(len(ranked) - 1, round(0.99 * (len(ranked) - 1)))],
            len(ranked),
        )


def timed_ms(call: Callable[[], object]) -> float:
    """Return how long a call takes (milliseconds)."""
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1e3


def samples_ms(count: int, call: Callable[[], object], *, warm_up: int = 20) -> list[float]:
    """Return how long each of so many calls takes (milliseconds), after some that do not count."""
    for _ in range(warm_up):
        call()
    return [timed_ms(call) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of processes (MB). PSS shares out what they share; USS leaves it out."""

    pss: float = 0.0
    uss: float = 0.0
    rss: float = 0.0
    processes: int = 0

    @classmethod
    def of(cls, processes: list[psutil.Process]) -> "Memory":
        """Return the sum over processes; those that have ended count nothing."""
        pss = uss = rss = count = 0
        for process in processes:
            try:
                info = process.memory_full_info()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            pss, uss, rss, count = pss + info.pss, uss + info.uss, rss + info.rss, count + 1
        return cls(pss / MB, uss / MB, rss / MB, count)

    def each(self) -> "Memory":
        """Return the mean of one process."""
        count = self.processes or 1
        return Memory(self.pss / count, self.uss / count, self.rss / count, count)


@contextlib.contextmanager
def peak(look: Callable[[], Memory], *, every_s: float = 0.5) -> Iterator[list[Memory]]:
    """Look again and again while the block runs; the list holds what was seen."""
    seen: list[Memory] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            seen.append(look())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time that a process has used (seconds)."""
    used = process.cpu_times()
    return used.user + used.system


def cpu_percent(pid: int, seconds: float) -> float:
    """Return how much of a core a process uses over so many seconds."""
    process = psutil.Process(pid)
    before, begin = process.cpu_times(), time.perf_counter()
    time.sleep(seconds)
    after = process.cpu_times()
    used = after.user - before.user + after.system - before.system
    return 100 * used / (time.perf_counter() - begin)
