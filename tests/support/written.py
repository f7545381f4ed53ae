"""Executions whose events a test writes, as their runners would."""

from typing import Any

from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from tests.support.api_server import Api


class Written:
    """An execution; `write` adds lines of its output, at a time (seconds since the epoch)."""

    def __init__(self, api: Api, flow: str = "svc/flow", **more: Any) -> None:
        self.api = api
        self.fid = api.execution(flow=flow, service=flow.partition("/")[0], **more)
        self.count = 0
        api.parts.spooler.wake(self.fid)

    def write(self, *texts: str, now: float | None = None, ends: bool = False) -> None:
        lines = [line.encode(Kind.STDOUT, text, now=now) for text in texts]
        if ends:
            lines.append(line.encode(Kind.FINAL, None, now=now))
        status = Status.FINISHED if ends else None
        body = b"\n".join(lines)
        batch = Batch(self.fid, "p", self.count + 1, len(lines), body, status=status)
        self.count += len(lines)
        [ack] = self.api.call(self.api.parts.store.events.append([batch]))
        assert ack.last >= self.count
        self.api.loop.call_soon_threadsafe(self.api.parts.spooler.wake, self.fid)
