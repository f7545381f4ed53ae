"""Renderings leave the event loop to others, and callers share their thread fairly."""

import asyncio
import threading
import time
from functools import partial

import pytest

from koco.api.http.rendering import Deadline, render_apart


def work(done: list[str], name: str) -> str:
    time.sleep(0.01)
    done.append(name)
    return threading.current_thread().name


def test_one_who_asks_for_many_delays_others_by_one() -> None:
    """All are done in one thread, which is not the loop's."""

    async def run() -> None:
        done: list[str] = []
        many = [render_apart("ada", partial(work, done, f"ada{n}")) for n in range(20)]
        tasks = [asyncio.ensure_future(each) for each in many]
        await asyncio.sleep(0.015)
        tasks.append(asyncio.ensure_future(render_apart("bob", partial(work, done, "bob"))))
        threads = set(await asyncio.gather(*tasks))
        assert len(threads) == 1
        assert threads != {threading.current_thread().name}
        # One of Ada's may be worked on, and one more may have come into line before Bob's.
        assert done.index("bob") <= 10
        assert [each for each in done if each != "bob"] == [f"ada{n}" for n in range(20)]

    asyncio.run(run())


def test_what_nobody_waits_for_is_not_done() -> None:
    """Those who wait for their own former one leave the line, too."""

    async def run() -> None:
        done: list[str] = []
        first = asyncio.ensure_future(render_apart("ada", partial(work, done, "first")))
        others = [
            asyncio.ensure_future(render_apart(who, partial(work, done, "gone")))
            for who in ("ada", "bob")
        ]
        await asyncio.sleep(0)
        for each in others:
            each.cancel()
        await first
        await render_apart("bob", partial(work, done, "last"))
        assert done == ["first", "last"]

    asyncio.run(run())


@pytest.mark.parametrize(("most_s", "has_time"), [(60.0, True), (0.001, False)])
def test_a_deadline_counts_processor_time(most_s: float, has_time: bool) -> None:
    deadline = Deadline(most_s)
    began = time.thread_time()
    while time.thread_time() < began + 0.01:
        pass
    assert deadline.check() is has_time
    resting = Deadline(0.05)
    time.sleep(0.1)
    assert resting.check()
