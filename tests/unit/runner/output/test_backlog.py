"""A spool's backlog survives its process: every event that was taken, and the outcome."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Ack
from koco.runner.output import backlog as module
from koco.runner.output.backlog import Backlog
from koco.runner.output.spool import Spool


def event(payload: object) -> bytes:
    return line.encode(Kind.RESULT, payload)


def payloads(left: module.Leftover) -> list[object]:
    return [line.decode(n, text)["payload"] for n, text in sorted(left.lines.items())]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


class Deaf:
    """A control plane that acknowledges only a given number of events."""

    def __init__(self, hears: int = 0) -> None:
        self.hears = hears
        self.heard = 0

    async def __call__(self, blob: bytes) -> bytes:
        acks = []
        for batch in wire.decode_batches(blob):
            self.heard = max(self.heard, min(self.hears, batch.first + batch.count - 1))
            acks.append(Ack(self.heard))
        await asyncio.sleep(0.001)
        return wire.encode_acks(acks)


def test_unacknowledged_events_are_found(tmp_path: Path) -> None:
    """Events of several executions, one larger than a file, and an outcome."""

    async def main() -> None:
        spool = Spool("r1", Deaf(), backlog=Backlog(tmp_path))
        spool.open("a", 2)
        spool.open("b")
        for number in range(300):
            spool.put("a", event(number), 2)
            if number % 3 == 0:
                spool.put("b", event(number))
        spool.put("b", event("x" * 2 * module.SEGMENT_BYTES))
        spool.put("b", event("last"))
        task = asyncio.create_task(spool.mark("b", Status.FINISHED))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    found = {left.fid: left for left in module.read(tmp_path)}
    assert payloads(found["a"]) == list(range(300))
    assert sorted(found["a"].lines) == list(range(1, 301))
    assert found["a"].attempt == 2
    assert found["a"].status is None
    assert [len(str(each)) for each in payloads(found["b"])][-2:] == [2 * module.SEGMENT_BYTES, 4]
    assert found["b"].status is Status.FINISHED


def test_acknowledged_events_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are reused, and the remaining ones have the missing events under their numbers."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 4096)

    async def main() -> None:
        deaf = Deaf(hears=10_000)
        spool = Spool("r1", deaf, backlog=Backlog(tmp_path))
        task = asyncio.create_task(spool.run())
        spool.open("a")
        for number in range(1, 2001):
            await spool.put_async("a", event(number))
            if number % 10 == 0:
                await asyncio.sleep(0)
        while deaf.heard < 2000:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert module.read(tmp_path) == []
        assert len(names(tmp_path)) <= 3
        deaf.hears = 2000
        spool.put("a", event("late"))
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(main())
    [left] = module.read(tmp_path)
    assert list(left.lines) == [2001]


def test_a_full_disk_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If no file can be made, events are still taken and sent; one warning is logged."""

    async def main() -> None:
        deaf = Deaf(hears=100)
        spool = Spool("r1", deaf, backlog=Backlog(tmp_path / "missing"))
        task = asyncio.create_task(spool.run())
        spool.open("a")
        for number in range(100):
            spool.put("a", event(number))
        assert await spool.mark("a", Status.FINISHED)
        task.cancel()

    asyncio.run(main())
    assert len(caplog.records) == 1


@pytest.mark.parametrize("at", range(3))
def test_an_interrupted_writer_keeps_the_numbering_intact(tmp_path: Path, at: int) -> None:
    """An exception raised in a thread while it writes costs at most that event."""

    class Interrupted(list[bytes]):
        def append(self, event: bytes) -> None:
            super().append(event)
            if len(self) == 5 + at:
                raise asyncio.CancelledError

    async def main() -> None:
        spool = Spool("r1", Deaf(), backlog=Backlog(tmp_path))
        spool.open("a")
        spool._outboxes["a"].lines = Interrupted()
        for number in range(1, 11):
            try:
                spool.put("a", event(number))
            except asyncio.CancelledError:
                continue

    asyncio.run(main())
    [left] = module.read(tmp_path)
    assert len(left.lines) == 9
    assert all(line.decode(n, text)["payload"] == n for n, text in left.lines.items())


def test_a_killed_process_leaves_everything_it_wrote(tmp_path: Path) -> None:
    """Killed at any moment, it leaves whole lines, and as many as it has reported."""
    code = """
        import asyncio, os, sys
        from pathlib import Path
        from koco.events import line
        from koco.events.model import Kind
        from koco.runner.output.backlog import Backlog
        from koco.runner.output.spool import Spool

        async def never(blob):
            await asyncio.Event().wait()

        async def main():
            spool = Spool("r1", never, backlog=Backlog(Path(sys.argv[1])))
            spool.open("a")
            for number in range(1, 20_000):
                spool.put("a", line.encode(Kind.RESULT, number))
                os.write(1, b"%d\\n" % number)

        asyncio.run(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout
    said = b""
    while len(said) < 5000:
        said += os.read(process.stdout.fileno(), 1000)
    process.send_signal(signal.SIGKILL)
    said += process.communicate()[0]
    [left] = module.read(tmp_path)
    told = int(said.split(b"\n")[-2])
    assert payloads(left)[:told] == list(range(1, told + 1))
    assert len(left.lines) <= told + 1
