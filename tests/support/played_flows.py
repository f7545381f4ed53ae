"""Flows of the API in tests that a test plays itself: no Ray, but real events, locks and files.

async def greet(stage: Stage) -> Any:
    await stage.write(Kind.STDOUT, "hi")
    return f"Hello, {stage.inputs['who']}"
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from koco.control.access.caller import Caller
from koco.events import line, wire
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
        self._producer = secrets.token_hex(4)
        self._count = self._locks = 0

    async def write(self, kind: Kind, *payloads: Any) -> None:
        """Write events that come together."""
        await self._append(*(line.encode(kind, each) for each in payloads))

    async def ask(self, name: str, data: Any = None, *, timeout_s: float = 60) -> Any:
        """Open a lock and wait for its answer."""
        self._locks += 1
        fid, lid = self.execution.fid, f"{self._locks}{secrets.token_hex(8)}"
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

    async def make_file(self, name: str, content: bytes) -> None:
        """Put a file into out/, as the flow itself."""
        fid = self.execution.fid
        flow = Caller(name="flow", fid=fid, credential=f"flow:{fid}")

        async def body() -> AsyncIterator[bytes]:
            yield content

        files = self.parts.files
        sha256, size = await files.blobs.receive_content(flow.uploader, body(), by=flow.owner)
        new = NewFile(path=f"out/{name}", sha256=sha256, size_bytes=size)
        await files.attach(fid, new, caller=flow)

    async def _append(self, *lines: bytes, status: Status | None = None) -> None:
        first, body = self._count + 1, b"\n".join(lines)
        self._count += len(lines)
        fid = self.execution.fid
        batch = Batch(fid, self._producer, first, len(lines), body, runner="r", status=status)
        await self.parts.spooler.append(wire.encode_batches([batch]))

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
    """Have launches of flows, by short name, run these. Others stay queued."""
    parts, running = api.parts, {}
    cancel_queued = parts.supervisor.cancel

    async def launch(new: NewExecution) -> Execution:
        execution, is_new = await parts.store.executions.create(new)
        found = plays.get(execution.flow.partition("/")[2])
        if is_new and found is not None:
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
