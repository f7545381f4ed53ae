"""Where the thread of a flow may be interrupted, and where that waits."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from koco.runner import fence
from koco.runner.fence import Fence


class Threaded:
    """A function that runs in a thread with a fence; it ended with `raised`, if anything."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.fence = Fence()
        self.raised: BaseException | None = None

        def main() -> None:
            try:
                self.fence.call(function)
            except BaseException as exc:  # noqa: BLE001 - looked at by the test
                self.raised = exc

        self.thread = threading.Thread(target=self.fence.run, args=(main,))
        self.thread.start()


def test_what_is_interrupted_before_it_begins_never_begins() -> None:
    """Koco's own code comes first, in which nothing is raised."""
    waits = Fence()
    waits.interrupt()
    called: list[int] = []

    def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            waits.call(called.append, 1)

    thread = threading.Thread(target=waits.run, args=(main,))
    thread.start()
    thread.join()
    assert called == []


def test_inside_the_fence_nothing_is_raised() -> None:
    """However often it is asked for: once, and when it leaves."""
    entered, told = threading.Event(), threading.Event()
    seen: list[str] = []

    def flow() -> None:
        try:
            with fence.here():  # type: ignore[union-attr]
                entered.set()
                told.wait(10)
                for _ in range(10_000):
                    pass
                seen.append("whole")
        except asyncio.CancelledError:
            seen.append("then cancelled")
        time.sleep(0.01)
        seen.append("and goes on")

    ran = Threaded(flow)
    entered.wait(10)
    for _ in range(3):
        ran.fence.interrupt()
    told.set()
    ran.thread.join()
    assert seen == ["whole", "then cancelled", "and goes on"]
    assert ran.raised is None


def test_an_interruption_at_any_time_leaves_no_half_change() -> None:
    """Hundreds of them, of a thread that goes in and out all the time, and at its end."""
    for _ in range(30):
        begun, done = [0], [0]

        def change(begun: list[int] = begun, done: list[int] = done) -> None:
            mine = fence.here()
            assert mine is not None
            with mine:
                begun[0] += 1
                for _ in range(random.randrange(20)):
                    pass
                done[0] += 1

        def flow(change: Callable[[], None] = change) -> None:
            for left in range(20, -1, -1):
                try:
                    while True:
                        change()
                except asyncio.CancelledError:
                    if not left:
                        raise

        ran = Threaded(flow)
        while ran.thread.is_alive():
            ran.fence.interrupt()
            time.sleep(random.random() * 0.0003)
        assert begun == done
        assert isinstance(ran.raised, asyncio.CancelledError)


def test_a_thread_that_has_ended_is_left_alone() -> None:
    """Another one may have got its number."""
    ended = Threaded(lambda: None)
    ended.thread.join()
    for _ in range(20):
        later = Threaded(lambda: time.sleep(0.01))
        ended.fence.interrupt()
        later.thread.join()
        assert later.raised is None
    assert fence.here() is None
