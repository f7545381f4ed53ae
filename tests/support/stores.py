"""Stores of each engine for tests, and what tests do with them."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.model import (
    EVERYTHING,
    Execution,
    FileLimits,
    Filter,
    Lock,
    NewExecution,
    NewFile,
    Sight,
)
from koco.store.store import Store
from tests.support import postgres

Check = Callable[[Store], Awaitable[None]]


KINDS: dict[str, Callable[[Path], Store]] = {
    "postgresql": lambda path: Store.at(postgres.databases().used(path)),
    "sqlite": lambda path: Store.at(path / "store.db"),
}


@asynccontextmanager
async def opened(kind: str, path: Path) -> AsyncIterator[Store]:
    store = KINDS[kind](path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def launch(store: Store, flow: str = "svc/flow", **inputs: Any) -> Execution:
    new = NewExecution(flow=flow, service="svc", release=1, inputs=inputs)
    execution, is_new = await store.executions.create(new)
    assert is_new
    return execution


def batch(
    fid: str,
    first: int,
    *texts: str,
    producer: str = "p",
    runner: str = "",
    status: Status | None = None,
    kind: Kind = Kind.STDOUT,
) -> Batch:
    body = b"\n".join(line.encode(kind, text) for text in texts)
    return Batch(fid, producer, first, len(texts), body, runner, status)


async def begun(store: Store, runner: str = "r1") -> Execution:
    execution = await launch(store)
    assert await store.executions.assign(execution.fid, runner)
    [ack] = await store.events.append(
        [batch(execution.fid, 1, runner=runner, status=Status.RUNNING)]
    )
    assert not ack.closed
    return await store.executions.get(execution.fid)


async def events(store: Store, execution: Execution, after: int = 0) -> list[dict[str, Any]]:
    chunks = await store.events.after(execution.id, after, budget_bytes=1 << 30)
    return [
        line.decode(seq, text)
        for chunk in chunks
        for seq, text in line.number_lines(chunk.first, chunk.body)
        if seq > after
    ]


def statuses(stream: list[dict[str, Any]]) -> list[str]:
    return [event["payload"]["status"] for event in stream if event["kind"] == "status"]


def in_an_hour() -> float:
    return time.time() + 3600


async def locked(store: Store, execution: Execution, lid: str, name: str = "approval") -> Lock:
    return await store.locks.open(
        execution.fid, lid, name=name, data={"page": 1}, expires=in_an_hour()
    )


SHA = "ab" * 32


FREE = FileLimits()


def new_file(path: str, sha256: str = SHA, size_bytes: int = 3) -> NewFile:
    return NewFile(path=path, sha256=sha256, size_bytes=size_bytes)


async def ended(store: Store, **fields: Any) -> Execution:
    """Make an execution that has ended, with a result or with an error."""
    result, error = fields.pop("result", "done"), fields.pop("error", None)
    new = NewExecution(
        **{"flow": "svc/flow", "service": "svc", "release": 1, "inputs": {}, **fields}
    )
    execution, _ = await store.executions.create(new)
    await store.executions.assign(execution.fid, "r")
    kind, payload = (Kind.ERROR, error) if error else (Kind.FINAL, result)
    status = Status.ERROR if error else Status.FINISHED
    end = Batch(execution.fid, "p", 1, 1, line.encode(kind, payload), "r", status)
    await store.events.append([end])
    return await store.executions.get(execution.fid)


async def fids(store: Store, sight: Sight = EVERYTHING, **wanted: Any) -> list[str]:
    page = await store.executions.page(Filter(**wanted), sight=sight, limit=1000)
    assert page.next is None
    return [each.fid for each in page.items]
