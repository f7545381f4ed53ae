"""What `koco top` costs while ten thousand executions are stored, and things happen."""

import contextlib
import threading
import time
from collections.abc import Iterator

import psutil

from tests.bench.measures import Bench, history
from tests.bench.plane import Plane
from tests.bench.report import Row
from tests.support.screen import Screen

_COUNT = 10_000
#: How long each state is looked at (seconds).
_LOOK_S = 15.0
#: How many executions a second are launched meanwhile.
_RATE = 5
#: The bar: the part of a core (%).
_BAR = 5.0


def ten_thousand(bench: Bench) -> Iterator[Row]:
    """List them all, filter them, and follow one that writes all the time, while others come."""
    plane = bench.plane
    bench.service("many")
    path = plane.wire.json("GET", "/v1/status")["store"]["path"]
    history.fill(path, time.time(), count=_COUNT, prefix="watch")
    seconds = _LOOK_S / 3 if bench.quick else _LOOK_S
    with Screen(["-m", "koco", "top", "--all"], columns=200, rows=50) as screen:
        screen.shows("one/trivial", "Follow")
        _list_all(screen)
        yield _row("1,000 rows of them, nothing happens", screen, seconds)
        with _launching(plane):
            yield _row("  five executions a second come and go", screen, seconds)
            screen.presses("g")
            ticking = plane.launch(plane.wire, "many/tick", n=int(50 * (seconds + 60)), pause=0.02)
            screen.shows(ticking)
            screen.presses("/")
            screen.shows("status=error flow=NAME words")
            screen.presses("flow=many/tick\r")
            screen.hides("many/trivial")
            yield _row("  filtered, and one followed that writes all the time", screen, seconds)
        screen.presses("q")
        screen.leaves()
    plane.wire.request("POST", f"/v1/executions/{ticking}/cancel")
    plane.wait_idle()


def _list_all(screen: Screen) -> None:
    """Go to the end of the list until no more rows come."""
    until = time.monotonic() + 30
    while time.monotonic() < until and f"watch{_COUNT - 1000:011d}" not in "\n".join(screen.lines):
        screen.presses("G")
        screen.written(1.0)


def _row(measure: str, screen: Screen, seconds: float) -> Row:
    """Look at the CPU time of the process, while its screen is read."""
    screen.written(3.0)
    process = psutil.Process(screen.process.pid)
    before, begin = process.cpu_times(), time.perf_counter()
    size = screen.written(seconds)
    took, after = time.perf_counter() - begin, process.cpu_times()
    used = after.user - before.user + after.system - before.system
    return Row(
        name="top",
        measure=f"koco top, 10,000 executions stored: {measure}" if measure[0] != " " else measure,
        value=100 * used / took,
        unit="%",
        bar=_BAR,
        more={"bytes/s": size / took},
    )


@contextlib.contextmanager
def _launching(plane: Plane) -> Iterator[None]:
    """Launch executions all the while."""
    over = threading.Event()

    def launch() -> None:
        with plane.connect() as wire:
            while not over.wait(1 / _RATE):
                plane.launch(wire, "many/trivial")

    thread = threading.Thread(target=launch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
