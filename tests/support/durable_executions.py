"""Durable executions in a store, their steps and their waits, for tests."""

import time
from collections.abc import Iterable
from typing import Any

from koco.events import steps
from koco.events.model import Status
from koco.events.steps import StepKind, StepRecord, StepStatus
from koco.events.wire import Ack, Batch
from koco.store.model import Execution, NewExecution, News, NewWait, Policy, Recorded, Topic
from koco.store.store import Store
from tests.support.stores import batch

DURABLE = Policy(durable=True)


async def started(
    store: Store, runner: str = "r1", *, policy: Policy = DURABLE, **more: Any
) -> Execution:
    """Return an execution that runs."""
    fields = {"flow": "svc/flow", "service": "svc", "release": 1, "inputs": {}, **more}
    execution, _ = await store.executions.create(NewExecution(policy=policy, **fields))
    return await resumed(store, execution, runner)


async def resumed(store: Store, execution: Execution, runner: str) -> Execution:
    """Return a queued execution once it runs."""
    assert await store.executions.assign(execution.fid, runner)
    running = batch(execution.fid, 1, runner=runner, status=Status.RUNNING)
    [ack] = await store.events.append([running])
    assert not ack.closed
    return await store.executions.get(execution.fid)


def record(
    key: str, position: int, status: StepStatus = StepStatus.FINISHED, **more: Any
) -> StepRecord:
    """Return a record of a step; `key` is `name:number`."""
    fields: dict[str, Any] = {
        "name": key.partition(":")[0],
        "digest": "d",
        "attempt": 1,
        "failures": 0,
        "started": time.time(),
        "duration_s": 0.1,
        "arguments": "1",
        "preview": "2",
        "result": b"r" if status.is_final else None,
        "size_bytes": 1,
        **more,
    }
    return StepRecord(key=key, position=position, status=status, **fields)


def sent(
    fid: str, records: Iterable[StepRecord], *, first: int = 1, producer: str = "steps"
) -> tuple[Batch, list[Recorded]]:
    """Return the batch with the events of some records, and the records as it brings them."""
    lines = [steps.split_line(steps.encode_line(each)) for each in records]
    body = b"\n".join(text for text, _ in lines)
    found = [Recorded(at, each) for at, (_, each) in enumerate(lines) if each]
    return Batch(fid, producer, first, len(lines), body), found


async def recorded(store: Store, execution: Execution, *records: StepRecord, first: int = 1) -> Ack:
    """Store some records with their events."""
    events, found = sent(execution.fid, records, first=first, producer=f"a{execution.attempt}")
    [ack] = await store.events.append([events], records=[found])
    return ack


def sleep(key: str = "sleep:0", position: int = 1, *, seconds: float = 60, **more: Any) -> NewWait:
    """Return a wait for a time."""
    return NewWait(
        **{"key": key, "name": "sleep", "kind": StepKind.SLEEP, "position": position, "digest": "s"}
        | {"due": time.time() + seconds}
        | more
    )


def receive(message: str = "note", number: int = 0, position: int = 1, **more: Any) -> NewWait:
    """Return a wait for a message."""
    name = f"receive.{message}"
    return NewWait(
        **{"key": f"{name}:{number}", "name": name, "kind": StepKind.RECEIVE, "digest": "m"}
        | {"position": position, "message": message}
        | more
    )


def call(child: Execution, position: int = 1, **more: Any) -> NewWait:
    """Return a wait for another execution."""
    return NewWait(
        **{"key": "call.svc.flow:0", "name": "call.svc.flow", "kind": StepKind.CALL, "digest": "c"}
        | {"position": position, "child": child.fid}
        | more
    )


def heard(store: Store) -> list[News]:
    """Return the list that gets the news of a store."""
    news: list[News] = []
    store.listen(news.extend)
    return news


def about(news: list[News], topic: Topic) -> list[str]:
    """Return the fids of the news of a topic."""
    return [each.fid for each in news if each.topic is topic]


async def parked(store: Store, execution: Execution, *waits: NewWait) -> Execution:
    """Return an execution that is parked in some waits."""
    for each in waits:
        await store.steps.open_wait(execution.fid, each)
    keys = [each.key for each in waits]
    assert await store.executions.park(execution.fid, execution.runner, keys=keys, lids=[])
    return await store.executions.get(execution.fid)
