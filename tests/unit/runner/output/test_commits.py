"""Steps' outcomes on their way to the store: a step goes on once its outcome is committed."""

import asyncio
import threading
import time

import pytest

from koco.events.model import Status
from koco.runner.output import spool as module
from koco.runner.output.spool import Attempt, Spool
from koco.sdk.interruption.fence import Fence
from tests.support.shelf import Shelf, event, spooled, until


def test_a_commit_returns_once_the_store_has_it() -> None:
    """In a coroutine and in a thread: with everything that was written before."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        sink = spool.open("a", 1)
        shelf.gate.clear()
        sink.put("a", event("before"))
        sink.record("a", event("running"))
        tasks = [
            asyncio.create_task(sink.commit_async("a", event("outcome"))),
            asyncio.create_task(asyncio.to_thread(sink.commit, "a", event("of a thread"))),
        ]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in tasks)
        shelf.gate.set()
        await asyncio.gather(*tasks)
        assert sorted(map(str, shelf.payloads("a"))) == sorted(
            ["before", "running", "outcome", "of a thread"]
        )

    spooled(body)


def test_commits_of_a_gather_share_calls() -> None:
    """A thousand commits at once need as many calls as their bytes, and end on their own loop."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        sink = spool.open("a", 1)

        async def many() -> asyncio.AbstractEventLoop:
            await asyncio.gather(*(sink.commit_async("a", event(each)) for each in range(1000)))
            return asyncio.get_running_loop()

        shelf.gate.clear()
        running = asyncio.create_task(asyncio.to_thread(asyncio.run, many()))
        await until(lambda: spool._outboxes["a"].written == 1000)
        shelf.gate.set()
        other = await running
        assert other is not asyncio.get_running_loop()
        assert shelf.payloads("a") == list(range(1000))
        assert shelf.calls <= sum(map(len, shelf.lines["a"])) // module.CALL_BYTES + 3

    spooled(body)


def test_a_commit_goes_on_waiting_while_the_store_has_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refused batch is sent again, and the commit ends with that."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        is_full = True
        monkeypatch.setattr(shelf, "refuses", lambda batch: is_full)
        sink = spool.open("a", 1)
        commits = [asyncio.create_task(sink.commit_async("a", event(each))) for each in range(3)]
        await until(lambda: shelf.calls > 3)
        assert not any(task.done() for task in commits)
        is_full = False
        await asyncio.gather(*commits)
        assert shelf.payloads("a") == [0, 1, 2]

    spooled(body)


def test_a_commit_waits_for_room_in_the_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large results of many steps at once do not fill the memory; a record never waits."""
    monkeypatch.setattr(module, "ROOM_BYTES", 2_000)

    async def body(spool: Spool, shelf: Shelf) -> None:
        sink = spool.open("a", 1)
        shelf.gate.clear()
        commits = [
            asyncio.create_task(sink.commit_async("a", event("x" * 1000))) for _ in range(20)
        ]
        await asyncio.sleep(0.05)
        assert spool._bytes < 4_000
        sink.record("a", event("running"))
        shelf.gate.set()
        await asyncio.gather(*commits)
        assert len(shelf.lines["a"]) == 21

    spooled(body)


def test_what_a_closed_execution_commits_is_not_committed() -> None:
    """The step does not go on: it is cancelled, in a thread as well, now and later."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        sink = spool.open("a", 1)
        shelf.closed.add("a")
        threaded = asyncio.create_task(asyncio.to_thread(sink.commit, "a", event(1)))
        with pytest.raises(asyncio.CancelledError):
            await sink.commit_async("a", event(2))
        with pytest.raises(asyncio.CancelledError):
            await threaded
        for _ in range(2):
            with pytest.raises(asyncio.CancelledError):
                await sink.commit_async("a", event(3))
        assert shelf.payloads("a") == []

    spooled(body)


def test_commits_of_an_earlier_attempt_are_cancelled() -> None:
    """Also those that wait while the next attempt begins; its lines never arrive."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        first = spool.open("f", 1)
        shelf.gate.clear()
        first.put("f", event("sent"))
        await until(lambda: shelf.calls == 1)
        waiting = asyncio.create_task(first.commit_async("f", event("late")))
        await asyncio.sleep(0.01)
        second = spool.open("f", 2)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(asyncio.CancelledError):
            await first.commit_async("f", event("later"))
        shelf.gate.set()
        shelf.lines["f"] = []
        await second.commit_async("f", event("second"))
        assert "late" not in shelf.payloads("f")

    spooled(body)


def test_a_commit_after_the_final_status_is_cancelled() -> None:
    """A thread that a flow leaves behind does not go on as if its step were recorded."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        sink = spool.open("a", 1)
        await sink.commit_async("a", event(1))
        await spool.mark("a", Status.FINISHED)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.to_thread(sink.commit, "a", event(2))

    spooled(body)


def test_a_dropped_execution_writes_nothing_more() -> None:
    """Its commits, questions and writers are let go, and its place in the spool is free."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        sink = spool.open("a", 1)
        await sink.put_async("a", event("kept"))
        await sink.commit_async("a", event("committed"))
        shelf.gate.clear()
        await sink.put_async("a", event("in a call"))
        await until(lambda: shelf.calls == 3 or bool(spool._ready) is False)
        commits = [
            asyncio.create_task(sink.commit_async("a", event("dropped"))),
            asyncio.create_task(asyncio.to_thread(sink.commit, "a", event("dropped"))),
        ]
        await asyncio.sleep(0.05)
        spool.drop("a", 2)  # another attempt's: no effect
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in commits)
        spool.drop("a", 1)
        for each in commits:
            with pytest.raises(asyncio.CancelledError):
                await each
        sink.put("a", event("later"))
        assert spool.held == []
        shelf.gate.set()
        await until(lambda: not spool._bytes)
        assert "dropped" not in shelf.payloads("a")
        assert "later" not in shelf.payloads("a")

    spooled(body)


def test_a_cancelled_thread_leaves_its_commit() -> None:
    """No exception reaches a thread that waits for a lock, so the spool lets it go."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        sink = spool.open("a", 1)
        shelf.gate.clear()
        fence, entered = Fence(), threading.Event()
        raised: list[str] = []

        def flow() -> None:
            entered.set()
            sink.commit("a", event(1))

        def main() -> None:
            try:
                fence.call(flow)
            except asyncio.CancelledError as exc:
                raised.append(type(exc).__name__)

        thread = threading.Thread(target=fence.run, args=(main,))
        thread.start()
        entered.wait(10)
        await asyncio.sleep(0.05)
        fence.interrupt()
        spool.forget_questions("a")
        await asyncio.to_thread(thread.join, 10)
        assert raised == ["CancelledError"]
        shelf.gate.set()

    spooled(body)


def test_commits_follow_each_other_quickly() -> None:
    """A commit costs two switches between threads, as an event does, and no task of its own."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        sink = spool.open("a", 1)
        took = await asyncio.to_thread(asyncio.run, _one_after_another(sink, 300))
        assert took < 0.005

    spooled(body)


async def _one_after_another(sink: Attempt, count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        await sink.commit_async("a", event(number))
    return (time.perf_counter() - began) / count


def test_large_outcomes_that_are_refused_do_not_stop_others() -> None:
    """Others commit meanwhile, and what is refused is not sent along each time."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        is_full = True
        shelf.refuses = lambda batch: is_full and len(batch.body) > module.CALL_BYTES
        large, other = spool.open("large", 1), spool.open("other", 1)
        text = "x" * (module.ROOM_BYTES // 2)
        waiting = [
            asyncio.create_task(large.commit_async("large", event(text))) for _ in range(4)
        ] + [asyncio.create_task(asyncio.to_thread(large.commit, "large", event("small")))]
        await until(lambda: spool._outboxes["large"].refused_at is not None)
        began = time.monotonic()
        for number in range(200):
            await other.commit_async("other", event(number))
        await asyncio.to_thread(other.commit, "other", event("of a thread"))
        assert await spool.mark("other", Status.FINISHED)
        most = 2 + (time.monotonic() - began) / module._LARGE_AGAIN_S
        assert sum(size > len(text) for size in shelf.sizes) <= most
        assert not any(task.done() for task in waiting)
        assert spool._bytes < 2 * module.ROOM_BYTES, "its own writers wait"
        is_full = False
        await asyncio.gather(*waiting)
        assert len(shelf.payloads("large")) == 5
        assert (spool._bytes, spool._outboxes["large"].bytes, spool._refused) == (0, 0, {})

    spooled(body)
