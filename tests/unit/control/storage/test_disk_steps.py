"""A disk that gets full while steps commit: only what has no room waits, and it says why."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from koco.control.events import spooler as module
from koco.control.events.spooler import Spooler
from koco.control.events.step_records import StepRecords
from koco.control.runners.last_words import LastWords
from koco.control.storage.blobs import Blobs
from koco.errors import NoRoomError
from koco.events import steps, wire
from koco.events.model import Status
from koco.events.steps import StepRecord, StepStatus
from koco.events.wire import Batch
from koco.store.model import Execution
from tests.support import small_disk
from tests.support.releases import manifest
from tests.support.small_disk import MB
from tests.unit.control.storage.test_disk import RESERVE, SIZE_MB, Parts, opened

Body = Callable[["Plane"], Awaitable[None]]


class Plane(Parts):
    """The parts of a control plane, with large results of steps as blobs."""

    def __init__(self, parts: Parts, data_dir: Path) -> None:
        self.__dict__.update(vars(parts))
        self.data_dir = data_dir
        self.blobs = Blobs(data_dir, self.store, self.settings, self.disk)
        records = StepRecords(self.store, self.settings, blobs=self.blobs)
        self.spooler = Spooler(self.store, self.settings, disk=self.disk, records=records)

    async def running(self) -> Execution:
        if not self._next:
            await self.store.releases.create(
                "svc", bundle="", fingerprint="", manifest=manifest(), by=""
            )
        return await super().running()

    def outcome(self, of: Execution, size_bytes: int, *, key: str = "fetch:0") -> Batch:
        """Return the batch that a runner sends when a step has ended."""
        result = key[0].encode() * size_bytes
        record = StepRecord(
            key=key,
            name=key.partition(":")[0],
            position=1,
            digest="d",
            status=StepStatus.FINISHED,
            attempt=1,
            failures=0,
            started=1.0,
            duration_s=0.5,
            arguments="",
            preview="",
            result=result,
            size_bytes=size_bytes,
        )
        return self.batch(of, steps.encode_line(record))

    async def is_kept(self, *batches: Batch) -> list[bool]:
        acks = await self.send(*batches)
        return [batch.is_held(ack) for batch, ack in zip(batches, acks, strict=True)]

    async def leave(self, size_bytes: float) -> Path:
        """Fill the disk until that much is left; return the file that fills it."""
        path = small_disk.leave(self.data_dir, size_bytes)
        await asyncio.sleep(0.15)  # not awaited: an older reading of the disk is used until then
        return path


@pytest.fixture(params=["mounted", "told"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Body], None]]:
    """Run a test with a small disk: a real one, and what runs anywhere."""
    with small_disk.of_kind(request.param, tmp_path, SIZE_MB) as data_dir:

        def run(body: Body) -> None:
            async def main() -> None:
                async with opened(data_dir) as parts:
                    await asyncio.wait_for(body(Plane(parts, data_dir)), 60)

            asyncio.run(main())

        yield run


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD_S", 0.05)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)


def test_a_large_outcome_may_use_the_disk_down_to_the_reserve(
    check: Callable[[Body], None],
) -> None:
    """As events may; uploads are refused earlier."""

    async def body(w: Plane) -> None:
        execution = await w.running()
        await w.leave(RESERVE * 1.5)
        with pytest.raises(NoRoomError), w.disk.promised(MB):
            pass
        assert await w.is_kept(w.outcome(execution, 2 * MB)) == [True]
        assert (await w.store.steps.get(execution.id, "fetch:0")).blob

    check(body)


def test_an_outcome_without_room_refuses_only_its_own_batch(check: Callable[[Body], None]) -> None:
    """Others of the same call are committed; the execution says why; later it is committed."""

    async def body(w: Plane) -> None:
        large, small = await w.running(), await w.running()
        theirs = await w.leave(RESERVE + 2 * MB)
        batches = [w.outcome(large, 5 * MB), w.outcome(small, 100)]
        assert await w.is_kept(*batches) == [False, True]
        why = w.spooler.why(large.fid) or ""
        assert "the result of a step waits for room" in why
        assert "disk_reserve_mb" in why
        assert w.spooler.why(small.fid) is None
        theirs.unlink()
        await asyncio.sleep(0.15)  # not awaited: an older reading of the disk is used until then
        assert await w.is_kept(batches[0]) == [True]
        assert (await w.store.steps.get(large.id, "fetch:0")).blob

    check(body)


def test_an_outcome_counts_with_its_result_below_the_reserve(check: Callable[[Body], None]) -> None:
    """A result of 64 kB or less is little; a larger one waits, though its event is small."""

    async def body(w: Plane) -> None:
        execution = await w.running()
        await w.leave(RESERVE * 0.8)
        assert await w.is_kept(w.outcome(execution, 500_000)) == [False]
        assert "disk_reserve_mb" in (w.spooler.why(execution.fid) or "")
        assert await w.is_kept(w.outcome(execution, 50_000)) == [True]

    check(body)


def test_an_outcome_that_waits_does_not_keep_its_execution_from_ending(
    check: Callable[[Body], None],
) -> None:
    """Its flow has not seen the outcome. The step stays as it was."""

    async def body(w: Plane) -> None:
        execution = await w.running()
        await w.leave(RESERVE * 0.8)
        outcome = w.outcome(execution, 9 * MB)
        assert await w.is_kept(outcome) == [False]
        await w.store.executions.request_cancel(execution.fid, grace_s=60)
        end = Batch(
            execution.fid, "p", outcome.first, 1, outcome.body, "r1", Status.CANCELLED, 0, True
        )
        assert await w.is_kept(end) == [True]
        assert (await w.store.executions.get(execution.fid)).status is Status.CANCELLED

    check(body)


def test_the_outcome_of_a_dead_runner_waits_for_room(check: Callable[[Body], None]) -> None:
    """It is not taken for what follows a gap, although there is room for events."""

    async def body(w: Plane) -> None:
        execution = await w.running()
        theirs = await w.leave(RESERVE + 2 * MB)
        words = LastWords(w.store, w.spooler, vault=None)  # type: ignore[arg-type]
        blob = wire.encode_batches([w.outcome(execution, 12 * MB)])
        with pytest.raises(NoRoomError):
            await words._deliver(blob)
        theirs.unlink()
        await asyncio.sleep(0.15)  # not awaited: an older reading of the disk is used until then
        await words._deliver(blob)
        assert (await w.store.steps.get(execution.id, "fetch:0")).blob

    check(body)
