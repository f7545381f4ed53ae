"""A disk that gets full: who waits, who is refused, and what is done all the same."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from koco.control.events import spooler as module
from koco.control.events.spooler import Spooler
from koco.control.executions.locks import Locks
from koco.control.runners.last_words import LastWords
from koco.control.settings import Settings
from koco.control.storage.disk import Disk
from koco.errors import LimitError, NoRoomError
from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Ack, Batch
from koco.store.model import Execution, FailureEvent, Key, NewExecution, Room
from koco.store.store import Store
from tests.support import small_disk
from tests.support.small_disk import MB

TS = "2026-01-31T12:00:00.123456Z"
#: Of a disk of 80 MB, a fifth is the reserve.
SIZE_MB, RESERVE = 80, 16 * MB


class Parts:
    """What a control plane has, as far as the disk goes."""

    def __init__(self, store: Store, **settings: float) -> None:
        self.store = store
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.disk = Disk(Path(store.engine.location).parent, self.settings, store.engine)
        self.spooler = Spooler(store, self.settings, disk=self.disk)
        store.engine.require_room = self.disk.require_room
        self._next: dict[str, int] = {}

    async def running(self) -> Execution:
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
        execution, _ = await self.store.executions.create(new)
        await self.store.executions.assign(execution.fid, "r1")
        await self.send(self.batch(execution, status=Status.RUNNING))
        return execution

    def batch(
        self, of: Execution, *lines: bytes, status: Status | None = None, is_last: bool = False
    ) -> Batch:
        first = self._next.get(of.fid, 1)
        return Batch(
            of.fid, "p", first, len(lines), b"\n".join(lines), "r1", status, is_last=is_last
        )

    async def send(self, *batches: Batch) -> list[Ack]:
        acks = wire.decode_acks(await self.spooler.append(wire.encode_batches(list(batches))))
        for batch, ack in zip(batches, acks, strict=True):
            self._next[batch.fid] = max(ack.last + 1, 1)
        return acks

    async def write(self, of: Execution, size_bytes: int = 400_000, **more: bool) -> bool:
        """Write an event as a runner does; say whether it was kept."""
        batch = self.batch(of, stdout("x" * size_bytes), **more)
        return batch.is_held((await self.send(batch))[0])

    async def fill(self, of: Execution, **more: bool) -> int:
        """Write until an event has to wait; return how many were kept."""
        count = 0
        while await self.write(of, **more):
            count += 1
            assert count < 4000
        return count

    async def end(self, of: Execution, status: Status = Status.FINISHED) -> bool:
        last = [line.encode(Kind.FINAL, "done")] if status is Status.FINISHED else []
        batch = self.batch(of, *last, status=status, is_last=True)
        return batch.is_held((await self.send(batch))[0])

    async def lines(self, of: Execution) -> list[tuple[str, object]]:
        chunks = await self.store.events.after(of.id, 0, budget_bytes=10**9)
        found = [pair for each in chunks for pair in line.number_lines(each.first, each.body)]
        assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
        events = [line.decode(seq, text) for seq, text in found]
        return [(each["kind"], each["payload"]) for each in events]


def stdout(text: str) -> bytes:
    return line.encode(Kind.STDOUT, text)


@pytest.fixture(params=["mounted", "told"])
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small disk: a real one, and what runs anywhere."""
    with small_disk.of_kind(request.param, tmp_path, SIZE_MB) as path:
        yield path


@asynccontextmanager
async def opened(data_dir: Path, **settings: float) -> AsyncIterator[Parts]:
    store = Store.at(data_dir / "store.db")
    await store.open()
    parts = Parts(store, **settings)
    keeping = asyncio.create_task(parts.disk.keep())
    try:
        while not (data_dir / "reserve").exists():
            await asyncio.sleep(0.01)
        yield parts
    finally:
        keeping.cancel()
        await store.close()


def run(data_dir: Path, body: Callable[[Parts], Awaitable[None]], **settings: float) -> None:
    async def main() -> None:
        async with opened(data_dir, **settings) as parts:
            await asyncio.wait_for(body(parts), 60)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD_S", 0.05)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)


def test_uploads_get_the_room_of_what_was_deleted(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it is within the store's file, which only events can use."""
    monkeypatch.setattr("koco.control.storage.disk._AGAIN_S", 0.05)

    async def body(parts: Parts) -> None:
        noisy, other = [await parts.running() for _ in range(2)]
        assert await parts.write(other)
        await parts.fill(noisy)
        with pytest.raises(NoRoomError), parts.disk.promised(MB):
            pass
        assert await parts.end(noisy, Status.CANCELLED)
        await parts.store.executions.delete(noisy.fid)
        while True:
            await asyncio.sleep(0.02)
            with contextlib.suppress(NoRoomError), parts.disk.promised(RESERVE // 2):
                break
        assert [kind for kind, _ in await parts.lines(other)][-1] == "stdout"
        assert await parts.write(other)

    run(data_dir, body)


def test_below_the_reserve_events_wait_but_endings_are_written(data_dir: Path) -> None:
    """Cancel, revoke, final statuses and delete commit, and then there is room."""

    async def body(parts: Parts) -> None:
        store = parts.store
        await store.keys.put(Key(name="eve", digest=b"e" * 32, scopes=("launch",), created=TS))
        noisy, other, third = [await parts.running() for _ in range(3)]
        assert await parts.fill(noisy) > 20
        while not parts.disk.trouble:  # what was written is counted double until the next look
            await parts.fill(noisy)
        assert RESERVE / 2 < small_disk.free(data_dir) < RESERVE + 2 * MB
        assert "disk_reserve_mb" in (parts.spooler.why(noisy.fid) or "")
        assert not await parts.write(other)
        assert await parts.write(other, 1000), "what is little does not wait"
        assert await parts.end(other)
        await store.keys.revoke("eve")
        await store.executions.request_cancel(noisy.fid, grace_s=1)
        assert await store.executions.settle(noisy.fid, Status.CANCELLED)
        assert (await parts.running()).fid, "what is launched goes on until half of it is used"
        await store.executions.delete(noisy.fid)
        await asyncio.sleep(0.2)
        assert await parts.write(third)
        assert await parts.fill(third) > 20, "the room within the store's file counts"
        while not parts.disk.trouble:
            await parts.fill(third)

    run(data_dir, body)


def test_an_execution_that_must_end_is_cut(data_dir: Path) -> None:
    """Its events would wait in vain, so it ends with its outcome and none missing."""

    async def body(parts: Parts) -> None:
        noisy = await parts.running()
        kept = await parts.fill(noisy)
        await parts.store.executions.request_cancel(noisy.fid, grace_s=1)
        assert await parts.write(noisy)
        assert await parts.write(noisy)
        assert await parts.end(noisy)
        lines = await parts.lines(noisy)
        assert sum(kind == "stdout" for kind, _ in lines) == kept
        told = [text for kind, text in lines if kind == "stderr"]
        assert "the control plane's disk is full" in str(told[0])
        assert told[1] == "koco: 2 events of this execution, 0.8 MB, were not kept"
        assert lines[-2:] == [("final", "done"), ("status", {"status": "finished"})]

    run(data_dir, body)


def test_an_ended_run_may_use_half_of_the_reserve(data_dir: Path) -> None:
    """Its runner holds the rest of its events, and must not wait for others."""

    async def body(parts: Parts) -> None:
        noisy, returned = await parts.running(), await parts.running()
        await parts.fill(noisy)
        for _ in range(20):
            assert await parts.write(returned, 80_000, is_last=True)
        assert await parts.end(returned)
        # But no more than that, however many do so.
        greedy = await parts.running()
        await parts.fill(greedy, is_last=True)
        assert small_disk.free(data_dir) > RESERVE / 4
        with pytest.raises(NoRoomError, match="disk_reserve_mb"):
            await parts.running()
        assert await parts.end(greedy)

    run(data_dir, body)


def test_a_dead_runners_last_output_may_use_it_as_well(data_dir: Path) -> None:
    """If even that is full, it must come again, and nothing is half stored."""

    async def body(parts: Parts) -> None:
        noisy, lost = await parts.running(), await parts.running()
        words = LastWords(parts.store, parts.spooler, vault=None)  # type: ignore[arg-type]

        async def left() -> Batch:
            batch = parts.batch(lost, stdout("x" * MB))
            try:
                await words._deliver(wire.encode_batches([batch]))
            finally:
                await parts.send(batch)  # for its number
            return batch

        await parts.fill(noisy)
        await left()
        await parts.fill(noisy, is_last=True)
        with pytest.raises(NoRoomError, match="dead runner"):
            await left()
        assert [kind for kind, _ in await parts.lines(lost)].count("stdout") == 1

    run(data_dir, body)


def test_a_refused_batch_delays_no_other_in_the_call(data_dir: Path) -> None:
    """Stored ones are acknowledged at once, refused ones come again."""

    async def body(parts: Parts) -> None:
        noisy, other = await parts.running(), await parts.running()
        await parts.fill(noisy)
        waiting = parts.batch(noisy, stdout("x" * 400_000))
        last = parts.batch(other, line.encode(Kind.FINAL, 1), status=Status.FINISHED)
        acks = await parts.send(waiting, last)
        assert [waiting.is_held(acks[0]), last.is_held(acks[1])] == [False, True]
        assert (await parts.store.executions.get(other.fid)).status is Status.FINISHED
        # A result that is larger than what is left waits, and is not half there.
        huge = parts.batch(noisy, line.encode(Kind.FINAL, "x" * 20 * MB), status=Status.FINISHED)
        assert not huge.is_held((await parts.send(huge))[0])

    run(data_dir, body)


def test_endings_are_written_although_others_fill_the_disk(tmp_path: Path) -> None:
    """To the last byte, repeatedly. New data gets 507. With room, all continues."""

    async def body(parts: Parts) -> None:
        data_dir, store = Path(parts.store.engine.location).parent, parts.store
        executions = [await parts.running() for _ in range(12)]
        await parts.write(executions[0], 2 * MB)
        for number in range(8):
            await store.keys.put(
                Key(name=f"k{number}", digest=bytes([number]) * 32, scopes=("read",), created=TS)
            )
        for number, execution in enumerate(executions):
            foreign = small_disk.fill(data_dir)
            assert small_disk.free(data_dir) < 8192
            await asyncio.sleep(0.11)
            assert not await parts.write(execution)
            await store.executions.request_cancel(execution.fid, grace_s=1)
            assert await parts.end(execution, Status.CANCELLED)
            if number < 8:
                await store.keys.revoke(f"k{number}")
            await store.executions.delete(execution.fid)
            with pytest.raises(NoRoomError):
                await store.executions.create(
                    NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
                )
        foreign.unlink()
        await asyncio.sleep(0.2)
        assert await parts.write(await parts.running())
        await asyncio.to_thread(store.engine.hold, RESERVE // 8)
        assert store.engine.missing_bytes() == 0

    with small_disk.mounted(SIZE_MB) as data_dir:
        run(data_dir, body)


def test_a_control_plane_starts_on_a_full_disk(tmp_path: Path) -> None:
    """Its predecessor died there. The room that it reserved is used to start."""
    with small_disk.mounted(SIZE_MB) as data_dir:

        async def body(parts: Parts) -> None:
            execution = await parts.running()
            small_disk.fill(data_dir)
            # As after a kill: the log and the ballast are there, and nothing was tidied up.
            again = data_dir / "again"
            again.mkdir()
            small_disk.fill(data_dir)
            copied = tmp_path / "copied"
            copied.mkdir()
            for name in ("store.db", "store.db-wal", "reserve"):
                (copied / name).write_bytes((data_dir / name).read_bytes())
            (data_dir / "somebody-elses").unlink()
            for name in ("store.db", "store.db-wal", "reserve"):
                (again / name).write_bytes((copied / name).read_bytes())
            small_disk.fill(data_dir)
            store = Store.at(again / "store.db")
            await store.open()
            assert await store.executions.settle(execution.fid, Status.CANCELLED)
            await store.close()

        run(data_dir, body)


def test_on_a_full_disk_only_new_data_is_refused(tmp_path: Path) -> None:
    """Also within one transaction. The reserve is given up in pieces."""

    async def body() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        given: list[int] = []

        def pages(more: int) -> None:
            count = store.engine._db.execute("PRAGMA page_count").fetchone()[0]
            store.engine._db.execute(f"PRAGMA max_page_count = {count + more}")

        def give_up() -> bool:
            given.append(len(given))
            pages(20 * len(given))
            return len(given) < 3

        execution, _ = await store.executions.create(
            NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
        )
        store.engine._writer._give_up = give_up
        pages(0)
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={"x": "x" * 200_000})
        error = FailureEvent(type="E", message="x" * 60_000)
        made = await asyncio.gather(
            store.executions.create(new),
            store.executions.settle(execution.fid, Status.ERROR, error),
            store.executions.create(new),
            return_exceptions=True,
        )
        assert [type(each) for each in made] == [NoRoomError, bool, NoRoomError]
        assert given == [0, 1]
        store.engine._db.execute("PRAGMA max_page_count = 1000000")
        assert (await store.executions.get(execution.fid)).status is Status.ERROR
        await store.close()

    asyncio.run(body())


def test_an_execution_has_a_limit_of_stored_events(tmp_path: Path) -> None:
    """The rest is cut: marked at the start, and summed up before the outcome."""

    async def body(parts: Parts) -> None:
        noisy, other = await parts.running(), await parts.running()
        for _ in range(40):
            assert await parts.write(noisy, 80_000)
        assert await parts.write(other, 80_000)
        last = [stdout("late"), line.encode(Kind.FINAL, {"n": 40})]
        batch = parts.batch(noisy, *last, status=Status.FINISHED)
        assert batch.is_held((await parts.send(batch))[0])
        lines = await parts.lines(noisy)
        assert sum(kind == "stdout" for kind, _ in lines) == 13
        assert ("stdout", "late") not in lines
        assert [text for kind, text in lines if kind == "stderr"] == [
            "koco: the events of this execution have reached max_events_mb, 1: no more are kept",
            "koco: 28 events of this execution, 2.1 MB, were not kept",
        ]
        assert lines[-2:] == [("final", {"n": 40}), ("status", {"status": "finished"})]
        ended = await parts.store.executions.get(noisy.fid)
        assert ended.outcome_seq == len(lines) - 1
        assert [kind for kind, _ in await parts.lines(other)].count("stdout") == 1
        # Locks are events as well, which koco writes itself.
        locks = Locks(parts.store, parts.spooler, endpoints=None)  # type: ignore[arg-type]
        with pytest.raises(LimitError, match="max_events_mb, 1"):
            for number in range(10):
                data = "x" * 300_000
                await locks.open(other.fid, f"l{number}", name="ok", data=data, timeout_s=60)
        known = await locks.open(other.fid, "l0", name="ok", data=data, timeout_s=60)
        assert known.status == "open"

    run(tmp_path, body, max_events_mb=1)


def test_the_disk_is_not_checked_for_each_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times a second is enough, because writes in between are counted."""
    looks = 0
    real = small_disk.os.statvfs

    def counted(path: Path) -> object:
        nonlocal looks
        looks += 1
        return real(path)

    async def body(parts: Parts) -> None:
        monkeypatch.setattr(small_disk.os, "statvfs", counted)
        execution = await parts.running()
        began = time.monotonic()
        for _ in range(200):
            assert await parts.write(execution, 100)
        assert looks <= 2 + (time.monotonic() - began) / 0.1

    run(tmp_path, body)


def test_pending_writes_count_before_the_disk_shows_them(tmp_path: Path) -> None:
    """Many runners' calls must not all rely on the same free space."""

    async def body(parts: Parts) -> None:
        await asyncio.sleep(0.11)
        with small_disk.told(tmp_path, SIZE_MB), parts.disk.writing(20 * MB):
            # Of 80 MB, 10 are held and 40 being written; 16 are the reserve.
            assert parts.disk.room(3 * MB) is Room.AMPLE
            with parts.disk.writing(5 * MB):
                assert parts.disk.room(3 * MB) is Room.LOW
                assert parts.disk.room(8 * MB) is Room.NONE

    run(tmp_path, body, disk_reserve_mb=16)
