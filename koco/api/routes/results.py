"""Results: what an execution ended with, as JSON or as what it is meant to be shown as."""

import asyncio
import contextlib
from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.datastructures.headers import Accept

from koco.api.http import auth
from koco.api.http.auth import requires
from koco.api.openapi import schemas
from koco.api.openapi.annotations import JSON, Answer
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.errors import AcceptError, ConflictError, UsageError
from koco.events import line
from koco.events.model import Status
from koco.store.model import Execution

#: How each body of `koco.response` may be sent, the best first.
_MEDIA = {
    "markdown": ("text/markdown", "text/plain"),
    "html": ("text/html",),
    "text": ("text/plain",),
}

#: A flow's page is somebody else's: without scripts, forms or requests, and of no origin.
_POLICY = "sandbox; default-src 'none'"

_SHOWN = Answer(
    media={JSON: schemas.Result, "text/markdown": str, "text/html": str, "text/plain": str},
    about="what it ended with: in the media type of what it returned, where that is asked for",
)


@get(
    "/v1/executions/{fid:str}/result",
    guards=[requires("read")],
    answers={200: _SHOWN},
    errors=[ConflictError, AcceptError],
)
async def show_result(request: Request[Any, Caller, State], fid: str) -> Response[Any]:
    """Return what an execution ended with.

    As JSON, `{fid, status, result | error}`; or alone where the flow returned a
    `koco.response` or a text, and `Accept` asks for its media type.
    """
    execution = await auth.execution(request, fid)
    if not execution.status.is_final:
        raise ConflictError(
            f"execution {execution.fid} has no result yet: it is {execution.status}",
            hint=f"`koco wait {execution.fid}` waits for it",
        )
    told = await outcome(request.app.state.parts, execution)
    body, offered = _shown(told.get("result"))
    media = _chosen(request.headers.get("accept", ""), (JSON, *offered))
    headers = {"Vary": "Accept"}
    if media == JSON:
        return Response(told, media_type=JSON, headers=headers)
    if media == "text/html":
        headers["Content-Security-Policy"] = _POLICY
    return Response(body.encode(), media_type=media, headers=headers)


async def outcome(parts: Parts, execution: Execution) -> dict[str, Any]:
    """Return `{fid, status, result | error}` of an execution that has ended."""
    told: dict[str, Any] = {"fid": execution.fid, "status": execution.status}
    if (seq := execution.outcome_seq) is not None:
        chunks = await parts.store.events.after(execution.id, seq - 1, budget_bytes=1)
        lines = dict(line.number_lines(chunks[0].first, chunks[0].body))
        payload = line.decode(seq, lines[seq]).get("payload")
        told["result" if execution.status is Status.FINISHED else "error"] = payload
    return told


async def ended(parts: Parts, execution: Execution, *, timeout_s: float) -> Execution:
    """Return an execution once it has ended, or as it is when the time is over."""
    news = asyncio.Event()
    parts.spooler.watch(execution.fid, news)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not (await parts.store.executions.get(execution.fid)).status.is_final:
                    await news.wait()
                    news.clear()
    finally:
        parts.spooler.unwatch(execution.fid, news)
    return await parts.store.executions.get(execution.fid)


def _shown(value: Any) -> tuple[str, tuple[str, ...]]:
    """Return a result's text, and the media types that it can be sent as beside JSON."""
    if isinstance(value, str):
        return value, _MEDIA["text"]
    if isinstance(value, dict) and value.keys() == {"type", "body"}:
        offered = _MEDIA.get(value["type"]) if isinstance(value["type"], str) else None
        if offered and isinstance(value["body"], str):
            return value["body"], offered
    return "", ()


def _chosen(accepted: str, offered: tuple[str, ...]) -> str:
    """Return the media type that a client likes best of those that are there."""
    if not accepted:
        return offered[0]
    try:
        found = Accept(accepted).best_match(list(offered))
    except OverflowError as exc:
        raise UsageError("a `q` in Accept is infinite", hint="it is a number up to 1") from exc
    if found is None:
        raise AcceptError(
            f"the result exists in no media type of {accepted[:100]!r}",
            hint=f"it exists as {', '.join(offered)}",
        )
    return found


ROUTES = (show_result,)
