"""Flows that run in the test's own process: the API accepts launches, and a script plays each."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from koco.control.access.caller import Caller
from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.model import Execution, NewExecution, NewFile
from tests.support.api_server import Api

_RUNNER = "scripted"


class Run:
    """An execution, as its script sees it."""

    def __init__(self, api: Api, execution: Execution) -> None:
        self.inputs = execution.inputs
        self.fid = execution.fid
        self._parts = api.parts
        self._producer, self._count = secrets.token_hex(4), 0

    async def begin(self) -> None:
        """Run."""
        await self._parts.store.executions.assign(self.fid, _RUNNER)
        await self._send(status=Status.RUNNING)

    async def emit(self, kind: Kind, *payloads: Any) -> None:
        """Write events that come together."""
        await self._send(*(line.encode(kind, each) for each in payloads))

    async def ask(self, name: str, data: Any = None) -> Any:
        """Open a lock, and return the answer to it."""
        lid = secrets.token_hex(8)
        await self._parts.locks.open(self.fid, lid, name=name, data=data, timeout_s=600)
        return (await self._parts.locks.wait(self.fid, lid)).answer

    async def make_file(self, name: str, content: bytes) -> None:
        """Put a file into out/."""
        flow = Caller(name="flow", fid=self.fid, credential=f"flow:{self.fid}")

        async def body() -> AsyncIterator[bytes]:
            yield content

        files = self._parts.files
        sha256, size = await files.blobs.receive_content(flow.uploader, body(), by=flow.owner)
        new = NewFile(path=f"out/{name}", sha256=sha256, size_bytes=size)
        await files.attach(self.fid, new, caller=flow)

    async def finish(self, value: Any) -> None:
        """Return a result."""
        await self._send(line.encode(Kind.FINAL, value), status=Status.FINISHED)

    async def fail(self, kind: str, message: str) -> None:
        """Raise."""
        error = {"type": kind, "message": message, "traceback": "at line 1"}
        await self._send(line.encode(Kind.ERROR, error), status=Status.ERROR)

    async def _send(self, *lines: bytes, status: Status | None = None) -> None:
        first, self._count = self._count + 1, self._count + len(lines)
        body = b"\n".join(lines)
        batch = Batch(self.fid, self._producer, first, len(lines), body, _RUNNER, status)
        await self._parts.spooler.append(wire.encode_batches([batch]))


#: What an execution of a flow does.
Script = Callable[[Run], Awaitable[None]]


def play(api: Api, scripts: dict[str, Script]) -> None:
    """Have the API's launches played by scripts, by the short names of their flows.

    A flow without a script waits in line.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def launch(new: NewExecution) -> Execution:
        execution, is_new = await api.parts.store.executions.create(new)
        script = scripts.get(new.flow.partition("/")[2])
        if is_new and script is not None:
            task = asyncio.ensure_future(script(Run(api, execution)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        return execution

    api.parts.supervisor.launch = launch
