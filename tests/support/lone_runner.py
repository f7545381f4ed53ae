"""A runner's executor in a process of its own, without Ray, and a control plane of memory.

`python -m tests.support.lone_runner MODULE NAME CONCURRENCY` runs a scenario: an async function
that gets a `Runner`.
"""

import asyncio
import importlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from koco.errors import ConflictError
from koco.events import line, steps, wire
from koco.events.model import Status
from koco.events.questions import (
    LockOutcome,
    OpenLock,
    Park,
    ReadHistory,
    Receive,
    Sleep,
    WaitForLock,
    WaitOutcome,
)
from koco.events.steps import Past, PastLock, StepRecord
from koco.events.used import Used
from koco.events.wire import Ack, Batch
from koco.runner.executor import Executor
from koco.runner.spec import FlowSpec, Launch, RunnerSpec
from koco.sdk.in_memory.records import past_step


@dataclass
class Stored:
    """What is stored of one execution."""

    attempt: int = 0
    #: Whether it belongs to the runner.
    is_here: bool = False
    held: dict[str, int] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    records: dict[str, StepRecord] = field(default_factory=dict)
    #: Waits and locks that were opened, by key or lid, and how they ended.
    opened: dict[str, str] = field(default_factory=dict)
    settled: dict[str, Any] = field(default_factory=dict)
    parks: list[Park] = field(default_factory=list)
    #: What it has used, each time that the runner has said so.
    used: list[Used] = field(default_factory=list)


class Plane:
    """Stores what a runner sends, and answers what it asks."""

    def __init__(self) -> None:
        self.executions: dict[str, Stored] = {}
        self.changed = asyncio.Condition()
        #: Whether executions may be parked, and what happens before that is answered.
        self.parks: Callable[[str], bool] = lambda fid: True
        self.before_parked: Callable[[str], Any] | None = None
        self.refuses = False
        self.append = SimpleNamespace(remote=self._append)
        self.ask = SimpleNamespace(remote=self._ask)

    async def _append(self, blob: bytes) -> bytes:
        acks = [self._take(batch) for batch in wire.decode_batches(blob)]
        async with self.changed:
            self.changed.notify_all()
        return wire.encode_acks(acks)

    def _take(self, batch: Batch) -> Ack:
        mine = self.executions[batch.fid]
        held = mine.held.get(batch.producer, 0)
        if batch.attempt != mine.attempt or not mine.is_here:
            return Ack(held, closed=True)
        if self.refuses:
            return Ack(held)
        for text in batch.body.split(b"\n") if batch.count else []:
            plain, record = steps.split_line(text)
            mine.lines.append(plain)
            if record is not None:
                mine.records[record.key] = record
        mine.held[batch.producer] = batch.first + batch.count - 1
        if batch.used is not None:
            mine.used.append(batch.used)
        if batch.status is not None:
            mine.statuses.append(batch.status)
            mine.is_here = not batch.status.is_final
        return Ack(mine.held[batch.producer])

    async def _ask(self, blob: bytes) -> bytes:
        asked = wire.decode_question(blob)
        mine = self.executions[asked.fid]
        if asked.attempt != mine.attempt or not mine.is_here:
            return wire.encode_answer(LockOutcome(status="withdrawn"))
        match asked.name:
            case OpenLock.NAME:
                mine.opened.setdefault(asked.arguments["lid"], asked.arguments["name"])
                return wire.encode_answer(None)
            case WaitForLock.NAME:
                return wire.encode_answer(await self._settled(mine, asked.arguments["lid"]))
            case Sleep.NAME | Receive.NAME:
                mine.opened.setdefault(asked.arguments["key"], asked.name)
                return wire.encode_answer(await self._settled(mine, asked.arguments["key"]))
            case ReadHistory.NAME:
                return wire.encode_answer(steps.encode_past(past_of(mine)))
            case Park.NAME:
                mine.parks.append(Park(**asked.arguments))
                return wire.encode_answer(await self._park(asked.fid, mine))
        return wire.encode_answer(None)

    async def _park(self, fid: str, mine: Stored) -> bool:
        if not self.parks(fid):
            return False
        mine.is_here = False
        async with self.changed:
            self.changed.notify_all()  # what still waits is refused, before this is answered
        await asyncio.sleep(0.05)
        if self.before_parked is not None:
            await self.before_parked(fid)
        return True

    async def _settled(self, mine: Stored, key: str) -> Any:
        attempt = mine.attempt

        def is_over() -> bool:
            return key in mine.settled or not mine.is_here or mine.attempt != attempt

        async with self.changed:
            await self.changed.wait_for(is_over)
        if key in mine.settled:
            return mine.settled[key]
        return ConflictError("the execution no longer belongs to the process that asks")

    async def settle(self, fid: str, name: str, value: Any) -> None:
        """End a wait or a lock, by its name or key."""
        mine = self.executions[fid]
        key = next(key for key, each in mine.opened.items() if name in (key, each))
        is_lock = key != name and not mine.opened[key].startswith("wait.")
        outcome = LockOutcome if is_lock else WaitOutcome
        more = {"answer" if is_lock else "value": value}
        mine.settled[key] = outcome(status="answered" if is_lock else "finished", **more)
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
        """Wait until something holds."""
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, "it does not happen"
            await asyncio.sleep(0.005)


def past_of(mine: Stored) -> Past:
    """Return what is recorded of an execution."""
    found = [past_step(each) for each in mine.records.values()]
    locks = [
        PastLock(lid, msgspec.json.encode(outcome))
        for lid, outcome in mine.settled.items()
        if isinstance(outcome, LockOutcome)
    ]
    return Past(found, locks, steps.marks_of(mine.lines))


class Runner:
    """The executor, and what a scenario does with it."""

    def __init__(self, module: str, concurrency: int) -> None:
        self.plane = Plane()
        names = [name for name in vars(importlib.import_module(module)) if name.endswith("_flow")]
        flows = tuple(FlowSpec(name=name, entrypoint=f"{module}:{name}") for name in names)
        spec = RunnerSpec(id="r1", service="s", release=1, flows=flows, concurrency=concurrency)
        self.executor = Executor(msgspec.json.encode(spec), self.plane)

    async def launch(self, flow: str, fid: str = "f1", **options: Any) -> Stored:
        """Launch an execution, or its next attempt."""
        mine = self.plane.executions.setdefault(fid, Stored())
        mine.attempt += 1
        mine.is_here = True
        given = {"durable": True, "park_after_s": 0.05, "has_past": mine.attempt > 1, **options}
        order = Launch(fid=fid, flow=flow, inputs={}, attempt=mine.attempt, **given)
        await self.executor.launch(msgspec.json.encode(order))
        return mine

    async def finished(self, mine: Stored) -> Any:
        """Wait for the end of an execution; return its result or error."""
        await self.plane.until(lambda: bool(mine.statuses) and mine.statuses[-1].is_final)
        return payloads(mine, "final", "error")[-1]


def payloads(mine: Stored, *kinds: str) -> list[Any]:
    """Return what the events of some kinds hold."""
    events = [line.decode(1, text) for text in mine.lines]
    return [event["payload"] for event in events if event["kind"] in kinds]


async def _run(module: str, name: str, concurrency: int) -> None:
    log = os.dup(2)
    runner = Runner(module, concurrency)
    try:
        await runner.executor.describe()
        await asyncio.wait_for(getattr(importlib.import_module(module), name)(runner), 60)
    except BaseException:  # noqa: BLE001 - shown by the test
        os.write(log, traceback.format_exc().encode())
        os._exit(1)
    # Here, because the executor ends its process if its tasks are cancelled.
    os._exit(0)


def main(arguments: Iterable[str]) -> None:
    """Run a scenario; exit with 0 if it holds."""
    import ray

    module, name, concurrency = arguments
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "koco").mkdir()
        ray._private.worker._global_node = SimpleNamespace(get_session_dir_path=lambda: folder)
        asyncio.run(_run(module, name, int(concurrency)))


if __name__ == "__main__":
    main(sys.argv[1:])
