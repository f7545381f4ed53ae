"""Flows of the API in tests that a test plays itself: no Ray, but real events, locks and files.

async def greet(stage: Stage) -> Any:
    await stage.write(Kind.STDOUT, "hi")
    return f"Hello, {stage.inputs['who']}"
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.model import Execution, FailureEvent, NewExecution, NewFile
from tests.support.api_server import Api


class Stage:
    """An execution that is played."""

    def __init__(self, parts: Any, execution: Execution) -> None:
        self.parts = parts
        self.execution = execution
        self.inputs = execution.inputs
        self._count = self._locks = 0

    async def write(self, kind: Kind, payload: Any) -> None:
        """Write an event."""
        await self._append(line.encode(kind, payload))

    async def ask(self, name: str, data: Any = None, *, timeout_s: float = 60) -> Any:
        """Open a lock and wait for its answer."""
        self._locks += 1
        fid, lid = self.execution.fid, f"{self.execution.fid[:14]}l{self._locks}"
        await self.parts.locks.open(fid, lid, name=name, data=data, timeout_s=timeout_s)
        return (await self.parts.locks.wait(fid, lid)).answer

    async def file(self, path: str, sha256: str, size_bytes: int) -> None:
        """Attach a file of an uploaded blob; its uploader is the caller."""
        limits = await self.parts.files.limits(self.execution.service, self.execution.release)
        new = NewFile(path=path, sha256=sha256, size_bytes=size_bytes)
        user = self.execution.user
        await self.parts.store.files.attach(
            self.execution.fid, new, by=user, uploader=user, limits=limits
        )

    async def _append(self, *lines: bytes, status: Status | None = None) -> None:
        first, body = self._count + 1, b"\n".join(lines)
        self._count += len(lines)
        fid = self.execution.fid
        batch = Batch(fid, "p", first, len(lines), body, runner="r", status=status)
        await self.parts.store.events.append([batch])
        self.parts.spooler.wake(fid)

    async def run(self, play: "Play") -> None:
        """Play the execution to its end."""
        fid = self.execution.fid
        await self.parts.store.executions.assign(fid, "r")
        await self._append(status=Status.RUNNING)
        try:
            result = await play(self)
        except Exception as exc:  # noqa: BLE001 - as a flow's own errors
            error = FailureEvent(type=type(exc).__name__, message=str(exc), traceback="Traceback")
            await self.parts.store.executions.settle(fid, Status.ERROR, error)
            self.parts.spooler.wake(fid)
            return
        await self._append(line.encode(Kind.FINAL, result), status=Status.FINISHED)


Play = Callable[[Stage], Awaitable[Any]]


def play(api: Api, plays: dict[str, Play]) -> None:
    """Have launches of flows, by full name, run these. Others stay queued."""
    parts, running = api.parts, {}
    cancel_queued = parts.supervisor.cancel

    async def launch(new: NewExecution) -> Execution:
        execution, _ = await parts.store.executions.create(new)
        if (found := plays.get(execution.flow)) is not None:
            task = asyncio.create_task(Stage(parts, execution).run(found))
            running[execution.fid] = task
            task.add_done_callback(lambda _: running.pop(execution.fid, None))
        return execution

    async def cancel(fid: str, *, grace_s: float) -> Execution:
        if (task := running.get(fid)) is None:
            return await cancel_queued(fid, grace_s=grace_s)
        task.cancel()
        await parts.store.executions.settle(fid, Status.CANCELLED)
        parts.spooler.wake(fid)
        return await parts.store.executions.get(fid)

    parts.supervisor.launch, parts.supervisor.cancel = launch, cancel
