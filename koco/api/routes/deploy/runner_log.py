"""The output of a service's runners outside any execution."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import msgspec
from litestar import get

from koco.api.http import auth
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream
from koco.api.openapi import shapes
from koco.api.openapi.annotations import Answer
from koco.api.openapi.shapes import Shape, text
from koco.control.executions.runner_output import Output, OutputLine
from koco.errors import NotFoundError, UsageError

#: How many lines of each stream are sent at first, and the most that may be asked for.
_TAIL = 200
_MOST = 10_000


class RunnerLine(Shape):
    """A line that a runner's process wrote outside any execution."""

    service: shapes.Service
    release: shapes.Number
    runner: Annotated[str, text("k3v9", "the id of the runner")]
    stream: Annotated[str, shapes.enum("stdout", "stderr")]
    text: Annotated[str, text("loading the model")]


@get(
    "/v1/services/{service:str}/log",
    guards=[requires("deploy")],
    answers={
        200: Answer(
            media={"application/x-ndjson": RunnerLine},
            about="lines; blank ones are heartbeats",
        )
    },
)
async def stream_runner_log(
    request: Request, service: str, *, tail: int = _TAIL, follow: bool = False
) -> LiveStream:
    """Stream what a service's runners have written outside any execution, such as on import.

    These are the last lines of both streams of each runner that is alive, and of the last five
    that are not. Ray keeps them in files on the nodes, and has no times for them. Secrets of the
    service are masked.
    """
    if not 0 <= tail <= _MOST:
        raise UsageError(f"`tail` must be from 0 to {_MOST}")
    auth.require_service(request.auth, service)
    parts = request.parts
    if not (await parts.store.releases.page(service, limit=1)).items:
        raise NotFoundError(
            f"no service is called {service!r}", hint="`koco status` lists what is deployed"
        )
    output = Output(parts.store, parts.supervisor, parts.vault, service)
    found = (
        output.follow(tail=tail, heartbeat_s=parts.heartbeat_s)
        if follow
        else output.stored(tail=tail)
    )
    return LiveStream(request, _pieces(found), media_type="application/x-ndjson")


async def _pieces(found: AsyncGenerator[list[OutputLine], Any]) -> AsyncGenerator[bytes, None]:
    async for lines in found:
        yield b"".join(msgspec.json.encode(each) + b"\n" for each in lines) or b"\n"


ROUTES = (stream_runner_log,)
