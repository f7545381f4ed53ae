"""The same measures for every peer. Each fills in figures, and none asks which peer it is."""

import itertools
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.bench.meters import Memory
from tests.bench.peers.figures import Figures
from tests.bench.peers.ledger import State, check
from tests.bench.peers.peer import Connection, Peer
from tests.bench.wire import AnswerError

#: The connections of the client.
_CONNECTIONS = 8
#: How long the work pauses while everything is killed, and how long a connection pauses between
#: two launches: about a hundred a second, some of which run at any time (seconds).
_WORK_S = 0.2
_PAUSE_S = 0.08
#: How long a kill waits for the first executions to begin (seconds).
_BEGIN_S = 30.0
#: How long a product may say that it is busy (seconds).
_BUSY_S = 60.0


@dataclass(frozen=True, slots=True)
class Times:
    """How much to measure, and how long it may take (seconds)."""

    samples: int = 200
    latency_s: float = 12.0
    rate_s: float = 10.0
    drain_s: float = 90.0
    #: Until processes that come or go have done so. It is more than a process of any product lives
    #: to begin an execution and to suspend it.
    calm_s: float = 7.0
    settle_s: float = 90.0


QUICK = Times(samples=20, latency_s=6, rate_s=5, drain_s=60, calm_s=5, settle_s=60)


def measure(peer: Peer, figures: Figures, times: Times) -> None:
    """Measure everything; what fails is noted, and the rest goes on if the product still runs."""
    numbers = itertools.count(1)
    begin = time.perf_counter()
    try:
        peer.start()
        figures.ready_s = time.perf_counter() - begin
        connection = peer.connect()
        connection.wait(connection.launch(next(numbers)))
        figures.first_s = time.perf_counter() - begin
        connection.close()
    except Exception as error:  # noqa: BLE001 - one peer that fails must not cost the others
        traceback.print_exc()
        figures.failed["peer"] = repr(error)
        return
    steps: dict[str, Callable[[Peer, Figures, Times, Iterator[int]], None]] = {
        "idle": _idle,
        "finished": _latency,
        "rate": _rate,
        "lost": _kill,
        "waiting": _waiting,
    }
    for name, step in steps.items():
        if name not in peer.lacks:
            try:
                step(peer, figures, times, numbers)
            except Exception as error:  # noqa: BLE001 - as above
                traceback.print_exc()
                figures.failed[name] = repr(error)


def _idle(peer: Peer, figures: Figures, times: Times, _numbers: Iterator[int]) -> None:
    """Look at the memory when there is nothing to do."""
    time.sleep(times.calm_s)
    memory = Memory.of(peer.processes.all())
    figures.idle_mb, figures.processes = memory.pss, memory.processes


def _latency(peer: Peer, figures: Figures, times: Times, numbers: Iterator[int]) -> None:
    """Launch and wait, one after another; the first ones warm up."""
    accepted, finished = [], []
    connection = peer.connect()
    connection.wait(connection.launch(next(numbers)))
    deadline = time.perf_counter() + times.latency_s
    while len(finished) < times.samples and time.perf_counter() < deadline:
        begin = time.perf_counter()
        ident = connection.launch(next(numbers))
        accepted.append((time.perf_counter() - begin) * 1e3)
        connection.wait(ident)
        finished.append((time.perf_counter() - begin) * 1e3)
    connection.close()
    figures.accepted_ms = statistics.median(accepted)
    figures.finished_ms = statistics.median(finished)
    figures.samples = len(finished)


def _rate(peer: Peer, figures: Figures, times: Times, numbers: Iterator[int]) -> None:
    """Launch over all connections for a while, with a full queue; count what begins to run.

    The first third only fills the queue. What begins is what ends, because the queue is limited.
    """
    ledger, before = peer.ledger, peer.ledger.count()
    over = threading.Event()

    def some(connection: Connection) -> int:
        launched = 0
        while not over.is_set():
            if sent.count() - (ledger.count() - before) >= peer.sizes.window:
                time.sleep(0.002)
                continue
            sent.add(1)
            _accepted(figures, partial(connection.launch, next(numbers)))
            launched += 1
        return launched

    sent = _Counter()
    connections = [peer.connect() for _ in range(_CONNECTIONS)]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        try:
            launches = [pool.submit(some, each) for each in connections]
            rate_s = times.rate_s * peer.sizes.patience
            time.sleep(rate_s / 3)
            first, begin = ledger.count(), time.perf_counter()
            time.sleep(rate_s * 2 / 3)
            count, took = ledger.count() - first, time.perf_counter() - begin
        finally:
            over.set()
    launched = sum(each.result() for each in launches)
    for connection in connections:
        connection.close()
    if count:
        figures.per_s = count / took
    _until(lambda: ledger.count() - before >= launched, times.drain_s, "short executions begin")
    if not count:
        raise TimeoutError(f"no execution began within {took:.0f} s")


def _kill(peer: Peer, figures: Figures, times: Times, numbers: Iterator[int]) -> None:
    """Kill everything while launches are accepted; start it again, and see what became of them."""
    time.sleep(1)  # what the last measure launched ends
    before, count = peer.ledger.count(), peer.sizes.kill
    share = iter(range(count))
    accepted: dict[int, str] = {}
    over = threading.Event()

    def some(connection: Connection) -> None:
        for _ in share:
            if over.is_set():
                return
            number = next(numbers)
            try:
                launch = partial(connection.launch, number, _WORK_S)
                accepted[number] = _accepted(figures, launch, over)
            except (OSError, RuntimeError, ValueError):
                return  # killed: nobody was promised anything
            over.wait(_PAUSE_S)

    connections = [peer.connect() for _ in range(_CONNECTIONS)]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        launches = [pool.submit(some, each) for each in connections]
        deadline = time.monotonic() + _BEGIN_S
        while time.monotonic() < deadline:
            begun = peer.ledger.count() - before
            if len(accepted) >= count / 2 and begun >= max(1, count // 20):
                break
            time.sleep(0.005)
        peer.kill()
        over.set()
        begin = time.perf_counter()
        peer.restart()
        figures.back_s = time.perf_counter() - begin
        for each in launches:
            each.result()
    for connection in connections:
        connection.close()
    states = _settled(peer, accepted, times.settle_s * peer.sizes.patience)
    figures.losses = check(states, peer.ledger.runs())


def _accepted(
    figures: Figures, launch: Callable[[], str], over: threading.Event | None = None
) -> str:
    """Launch, and again as long as the product says that it is busy, as its own client does.

    Raises:
        AnswerError: it is refused for another reason, or for too long, or it is `over`.
    """
    over = over or threading.Event()
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            return launch()
        except AnswerError as error:
            if error.status not in (429, 503) or time.monotonic() > deadline:
                raise
            figures.refused += 1
            if over.wait(0.2):
                raise


def _settled(peer: Peer, accepted: dict[int, str], settle_s: float) -> dict[int, State]:
    """Return what the product says of each launch, once nothing is open or nothing changes."""
    states: dict[int, State] = dict.fromkeys(accepted, "open")
    connection = peer.connect()
    deadline = time.monotonic() + settle_s
    seen, since = (0, 0), time.monotonic()
    while True:
        for number, ident in accepted.items():
            if states[number] == "open":
                states[number] = connection.state(ident)
        still = sum(state == "open" for state in states.values())
        now = (still, peer.ledger.count())
        if now != seen:
            seen, since = now, time.monotonic()
        is_quiet = time.monotonic() - since > peer.sizes.quiet_s
        if not still or is_quiet or time.monotonic() > deadline:
            connection.close()
            return states
        time.sleep(0.25)


def _waiting(peer: Peer, figures: Figures, times: Times, numbers: Iterator[int]) -> None:
    """Launch executions that wait; look at the memory once no process comes or goes."""
    connection = peer.connect()
    connection.launch_waiting(next(numbers))  # whatever the first one loads does not count
    _calm(peer, times.calm_s)
    before = Memory.of(peer.processes.all())
    waiting = [next(numbers) for _ in range(peer.sizes.waiting - 1)]
    for number in waiting:
        _accepted(figures, partial(connection.launch_waiting, number))
    _until(lambda: peer.wait_states(waiting) == len(waiting), times.drain_s, "executions wait")
    _calm(peer, times.calm_s)
    after = Memory.of(peer.processes.all())
    connection.close()
    figures.waited = len(waiting)
    figures.waiting_mb = (after.pss - before.pss) / len(waiting) * 100


def _calm(peer: Peer, calm_s: float, *, timeout_s: float = 40.0) -> None:
    """Wait until no process has come or gone for a while."""
    deadline, since = time.monotonic() + timeout_s, time.monotonic()
    seen: set[int] = set()
    while time.monotonic() < min(deadline, since + calm_s):
        pids = {process.pid for process in peer.processes.all()}
        if pids != seen:
            seen, since = pids, time.monotonic()
        time.sleep(0.5)


def _until(is_true: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all {what} within {timeout_s:g} s")
        time.sleep(0.05)


class _Counter:
    """Counts over threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, count: int) -> None:
        with self._lock:
            self._count += count

    def count(self) -> int:
        return self._count
