"""From a runner's threads to the store: nothing lost, nothing doubled, in order, bounded."""

import asyncio
import multiprocessing
import os
import random
import threading
import time
from pathlib import Path

import msgspec
import pytest

from koco.errors import NotFoundError
from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.questions import OpenLock, WithdrawLock
from koco.events.wire import Batch
from koco.runner.output import backlog
from koco.runner.output import spool as module
from koco.runner.output.backlog import Backlog
from koco.runner.output.spool import Spool
from tests.support.shelf import Shelf, event, spooled, until

LOCK = OpenLock(lid="l1", name="ok", data=None, timeout_s=1.0)


def test_events_arrive_in_order_before_the_status() -> None:
    """When `mark` returns, all earlier events are committed; the status goes with the last."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        spool.open("a")
        assert await spool.mark("a", Status.RUNNING)
        for number in range(5000):
            spool.put("a", event(number))
        assert await spool.mark("a", Status.FINISHED)
        assert shelf.payloads("a") == list(range(5000))
        assert shelf.statuses == [("a", Status.RUNNING), ("a", Status.FINISHED)]
        assert spool.held == []

    spooled(body)


def test_busy_spools_send_full_calls() -> None:
    """While a call is pending, the next events gather: calls are few, and within the limit."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        spool.open("a")
        shelf.gate.clear()
        for number in range(10_000):
            spool.put("a", event(number))
        shelf.gate.set()
        await spool.mark("a", Status.FINISHED)
        total = sum(map(len, shelf.lines["a"]))
        assert shelf.calls <= total // module.CALL_BYTES + 4
        assert max(shelf.sizes) < 100 * 1024, "Ray passes up to 100 KiB along with the call"

    spooled(body)


def test_refused_batches_are_sent_again() -> None:
    """A batch that is not acknowledged is sent again, and arrives once."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        rng = random.Random(7)
        shelf.refuse = lambda: rng.random() < 0.5
        spool.open("a")
        spool.open("b")
        for number in range(300):
            spool.put("ab"[number % 2], event(number))
            if number % 50 == 0:
                await asyncio.sleep(0.001)
        await asyncio.gather(spool.mark("a", Status.FINISHED), spool.mark("b", Status.FINISHED))
        assert shelf.payloads("a") == list(range(0, 300, 2))
        assert shelf.payloads("b") == list(range(1, 300, 2))

    spooled(body)


def test_refused_lines_let_others_end_and_arrive_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk refuses an execution's lines: another ends meanwhile, and the first later."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        seen: list[Batch] = []

        def refuses(batch: Batch) -> bool:
            seen.append(batch)
            return batch.fid == "noisy" and not batch.is_last

        monkeypatch.setattr(shelf, "refuses", refuses)
        spool.open("noisy")
        spool.open("other")
        for number in range(3000):
            spool.put("noisy", event(number))
        await until(lambda: len(seen) > 3)
        spool.put("other", event("o"))
        assert await spool.mark("other", Status.FINISHED)
        assert shelf.payloads("noisy") == []
        for number in range(3000, 3010):
            spool.put("noisy", event(number))
        assert await spool.mark("noisy", Status.FINISHED)
        assert shelf.payloads("noisy") == list(range(3010))
        assert shelf.payloads("other") == ["o"]
        assert (spool.held, spool._bytes, spool._refused, spool._ready) == ([], 0, {}, {})

    spooled(body)


def test_refused_lines_get_their_turn_once_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds even if others never stop writing."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        is_full = True
        monkeypatch.setattr(shelf, "refuses", lambda batch: is_full and batch.fid == "noisy")
        spool.open("noisy")
        spool.open("busy")
        for number in range(5000):
            spool.put("noisy", event(number))
        await until(lambda: "noisy" in spool._refused)
        is_full = False
        written = 0
        while len(shelf.lines.get("noisy", [])) < 5000:
            for _ in range(3000):
                spool.put("busy", event(written))
                written += 1
            await asyncio.sleep(0)
            assert written < 10**6
        assert shelf.payloads("noisy") == list(range(5000))

    spooled(body)


def test_refused_lines_stay_in_the_backlog(tmp_path: Path) -> None:
    """If the process dies, its backlog has each line once, in order."""

    async def main() -> None:
        shelf = Shelf()
        shelf.refuses = lambda batch: batch.fid == "noisy"
        spool = Spool("r1", shelf, backlog=Backlog(tmp_path))
        task = asyncio.create_task(spool.run())
        spool.open("noisy")
        spool.open("other")
        for number in range(4000):
            spool.put("noisy" if number % 2 else "other", event(number))
            if number % 500 == 0:
                await asyncio.sleep(0.001)
        await until(lambda: len(shelf.lines.get("other", [])) == 2000)
        task.cancel()
        [left] = [each for each in backlog.read(tmp_path) if each.fid == "noisy"]
        assert list(left.lines) == list(range(1, 2001))
        payloads = [line.decode(1, text)["payload"] for text in left.lines.values()]
        assert payloads == list(range(1, 4000, 2))

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_full_spool_makes_writers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread blocks, a coroutine waits, both go on once there is room; nothing is dropped."""
    monkeypatch.setattr(module, "ROOM_BYTES", 2_000)

    async def body(spool: Spool, shelf: Shelf) -> None:
        spool.open("a")
        spool.open("b")
        shelf.gate.clear()

        def write() -> None:
            for number in range(200):
                spool.put("a", event(number))

        async def write_async() -> None:
            for number in range(200):
                await spool.put_async("b", event(number))

        thread = threading.Thread(target=write)
        thread.start()
        task = asyncio.create_task(write_async())
        await asyncio.sleep(0.1)
        assert thread.is_alive()
        assert not task.done()
        shelf.gate.set()
        await task
        await asyncio.to_thread(thread.join)
        await asyncio.gather(spool.mark("a", Status.FINISHED), spool.mark("b", Status.FINISHED))
        assert shelf.payloads("a") == shelf.payloads("b") == list(range(200))

    spooled(body)


def test_a_closed_execution_takes_no_more_events() -> None:
    """If the store closes it, its owner is notified and later events are dropped."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        told: list[str] = []
        spool._on_closed = told.append
        spool.open("a")
        shelf.closed.add("a")
        spool.put("a", event(1))
        while not told:
            await asyncio.sleep(0)
        spool.put("a", event(2))
        assert not await spool.mark("a", Status.FINISHED)
        assert (told, spool.held, spool._bytes) == (["a"], [], 0)

    spooled(body)


def test_questions_wait_until_earlier_events_are_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes after that; an error is raised in the caller."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        seen: list[int] = []

        async def question(blob: bytes) -> bytes:
            asked = wire.decode_question(blob)
            seen.append(len(shelf.lines.get(asked.fid, ())))
            if asked.name == "lock.withdraw":
                return wire.encode_answer(NotFoundError("no such lock", hint="look"))
            return wire.encode_answer([asked.name, asked.arguments])

        monkeypatch.setattr(spool, "_question", question)
        spool.open("f")
        shelf.gate.clear()
        for number in range(5):
            spool.put("f", event(number))
        asking = asyncio.create_task(spool.ask_async("f", LOCK))
        in_thread = asyncio.create_task(asyncio.to_thread(spool.ask, "f", LOCK))
        await asyncio.sleep(0.05)
        assert not seen
        shelf.gate.set()
        asked = ["lock.open", msgspec.structs.asdict(LOCK)]
        assert await asking == asked
        assert await in_thread == asked
        assert seen == [5, 5]
        with pytest.raises(NotFoundError, match="no such lock"):
            await spool.ask_async("f", WithdrawLock(lid="l1"))

    spooled(body)


def test_leftovers_of_an_earlier_attempt_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their events are not in the next attempt's stream; their questions name their own attempt."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        async def question(blob: bytes) -> bytes:
            return wire.encode_answer(wire.decode_question(blob).attempt)

        monkeypatch.setattr(spool, "_question", question)
        first = spool.open("f", 1)
        second = spool.open("f", 2)
        first.put("f", event("first"))
        await first.put_async("f", event("first"))
        second.put("f", event("second"))
        await spool.mark("f", Status.FINISHED)
        assert shelf.payloads("f") == ["second"]
        assert await first.ask_async("f", LOCK) == 1
        assert await asyncio.to_thread(second.ask, "f", LOCK) == 2

    spooled(body)


def test_questions_of_a_cancelled_execution_are_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in a thread that no exception can reach while it waits."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        async def question(blob: bytes) -> bytes:
            await asyncio.sleep(30)
            return b""

        monkeypatch.setattr(spool, "_question", question)
        spool.open("f")
        waiting = asyncio.create_task(asyncio.to_thread(spool.ask, "f", LOCK))
        await asyncio.sleep(0.05)
        spool.forget_questions("f")
        with pytest.raises(asyncio.CancelledError):
            await waiting

    spooled(body)


def test_an_idle_spool_sends_at_once() -> None:
    """A lone event does not wait for a timer: it is sent in the same turn of the loop."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        spool.open("a")
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        spool.put("a", event("x"))
        while not shelf.lines.get("a"):
            await asyncio.sleep(0)
            assert time.perf_counter() - began < 5
        assert shelf.calls == 1

    spooled(body)


def test_a_forked_process_cannot_write() -> None:
    """A fork's copy of the spool is never sent, so writing to it raises an error."""

    def child(spool: Spool) -> None:
        try:
            spool.put("f1", line.encode(Kind.RESULT, 1))
        except RuntimeError as exc:
            os._exit(7 if "forked" in str(exc) else 1)
        os._exit(0)

    async def body(spool: Spool, shelf: Shelf) -> None:
        spool.open("f1")
        process = multiprocessing.get_context("fork").Process(target=child, args=(spool,))
        process.start()
        await asyncio.to_thread(process.join)
        assert process.exitcode == 7

    spooled(body)


def test_closing_an_execution_amid_large_events_does_not_stop_the_spool() -> None:
    """One call has two batches of one execution, and both are refused for ever."""

    async def body(spool: Spool, shelf: Shelf) -> None:
        for fid in "ab":
            spool.open(fid)
        shelf.closed.add("a")
        shelf.gate.clear()
        spool.put("b", event(0))
        await asyncio.sleep(0.01)  # that call is pending: the following events gather into one
        for _ in range(2):
            spool.put("a", event("x" * (module.CALL_BYTES * 2 // 3)))
        shelf.gate.set()
        assert await spool.mark("b", Status.FINISHED)
        assert shelf.payloads("b") == [0]
        spool.open("c")
        assert await asyncio.wait_for(spool.mark("c", Status.FINISHED), 60)
        assert spool.held == []
        assert spool._bytes == 0

    spooled(body)
