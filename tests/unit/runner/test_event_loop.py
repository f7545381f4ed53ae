"""The loop that async flows share."""

import asyncio
import collections
import threading

from koco.runner.event_loop import FlowLoop
from koco.runner.output.lines import Output, current

_THREADS, _CALLS = 4, 2000


def test_calls_from_other_threads_are_made_in_order() -> None:
    """The loop misses none of them, and none waits for another event."""
    loop, done = FlowLoop(), threading.Event()
    loop.start()
    made = collections.defaultdict[int, list[int]](list)

    def call(number: int) -> None:
        for at in range(_CALLS):
            loop.call_soon_threadsafe(made[number].append, at)
            if at % 100 == 0:
                threading.Event().wait(0.0005)  # so that the loop goes to sleep in between

    callers = [threading.Thread(target=call, args=(number,)) for number in range(_THREADS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    loop.call_soon_threadsafe(done.set)
    assert done.wait(20), "the loop was not woken"
    assert [made[number] for number in range(_THREADS)] == [[*range(_CALLS)]] * _THREADS


def test_an_execution_knows_its_tasks() -> None:
    """Those that have not ended, and no other execution's."""
    loop = FlowLoop()
    loop.start()
    mine, other = (Output(lambda kind, text: None) for _ in range(2))

    async def look() -> tuple[int, int]:
        current.set(mine)
        left = loop.create_task(asyncio.sleep(60))
        ended = loop.create_task(asyncio.sleep(0))
        await ended
        found = mine.tasks == {left}, len(other.tasks)
        left.cancel()
        return found

    assert asyncio.run_coroutine_threadsafe(look(), loop).result(20) == (True, 0)
