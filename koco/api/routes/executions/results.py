"""Results: the outcome of an execution, as JSON or in the media type of the flow's response."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from litestar import Response, get
from litestar.datastructures.headers import Accept
from msgspec import UNSET, UnsetType

from koco.api.http import auth, markdown_page
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.openapi.annotations import JSON, Answer
from koco.api.openapi.shapes import Fid, Json, Shape
from koco.control.container import Parts
from koco.errors import AcceptError, ConflictError, LimitError, UsageError
from koco.events.model import Status
from koco.store.executions.snapshots import Snapshot
from koco.store.model import Execution

#: How each body of `koco.response` may be sent, the best first.
_MEDIA = {
    "markdown": ("text/markdown", "text/plain", "text/html"),
    "html": ("text/html",),
    "text": ("text/plain",),
}

#: A flow's page is not trusted: it may have no scripts, forms, requests or origin.
_POLICY = "sandbox; default-src 'none'"


class Result(Shape):
    """The outcome of an execution. An error is `{type, message, traceback}`."""

    fid: Fid
    status: Status
    result: Json | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET


_SHOWN = Answer(
    media={JSON: Result, "text/markdown": str, "text/html": str, "text/plain": str},
    about="the outcome, in the media type of the flow's response if `Accept` asks for it",
)


@get(
    "/v1/executions/{fid:str}/result",
    guards=[requires("read")],
    answers={200: _SHOWN},
    errors=[ConflictError, AcceptError, LimitError],
)
async def show_result(request: Request, fid: str) -> Response[Any]:
    """Return the result or the error of an execution.

    As JSON, `{fid, status, result | error}`. If the flow returned a `koco.response` or a text, and
    `Accept` asks for its media type, only that. Markdown also becomes a page of HTML, if it is not
    too large.
    """
    execution = await auth.find_execution(request, fid)
    if not execution.status.is_final:
        raise ConflictError(
            f"execution {execution.fid} has no result yet: it is {execution.status}",
            hint=f"`koco wait {execution.fid}` waits for it",
        )
    found = await read_outcome(request.parts, execution)
    body, offered = _offered_types(found.result)
    media = _choose(request.headers.get("accept", ""), (JSON, *offered))
    headers = {"Vary": "Accept"}
    if media == JSON:
        return Response(found, media_type=JSON, headers=headers)
    if media == "text/html":
        headers["Content-Security-Policy"] = _POLICY
        if "text/markdown" in offered:
            body = await markdown_page.render_page(body, holder=request.auth.holder)
    return Response(body.encode(), media_type=media, headers=headers)


async def read_outcome(parts: Parts, execution: Execution) -> Result:
    """Return the outcome of an execution that has ended."""
    snapshot = await parts.store.snapshots.get(execution.fid, outcome=True, locks=False)
    return outcome_of(snapshot)


def outcome_of(snapshot: Snapshot) -> Result:
    """Return the outcome in a snapshot of an execution that has ended."""
    execution, payload = snapshot.execution, snapshot.payload
    if snapshot.outcome is None or execution.outcome_seq is None:
        return Result(execution.fid, execution.status)
    if execution.status is Status.FINISHED:
        return Result(execution.fid, execution.status, result=payload)
    return Result(execution.fid, execution.status, error=payload)


async def wait_for_end(parts: Parts, execution: Execution, *, timeout_s: float) -> Execution:
    """Return an execution once it has ended, or as it is when the time is over."""
    return await wait_until(parts, execution, lambda now: now.status.is_final, timeout_s=timeout_s)


async def wait_until(
    parts: Parts,
    execution: Execution,
    is_enough: Callable[[Execution], bool],
    *,
    timeout_s: float,
) -> Execution:
    """Return an execution once `is_enough` is true of it, or as it is when the time is over."""
    news = asyncio.Event()
    parts.spooler.watch(execution.fid, news)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not is_enough(await parts.store.executions.get(execution.fid)):
                    await news.wait()
                    news.clear()
    finally:
        parts.spooler.unwatch(execution.fid, news)
    return await parts.store.executions.get(execution.fid)


def _offered_types(value: Any) -> tuple[str, tuple[str, ...]]:
    """Return a result's text, and the media types besides JSON in which it can be sent."""
    if isinstance(value, str):
        return value, _MEDIA["text"]
    if isinstance(value, dict) and value.keys() == {"type", "body"}:
        offered = _MEDIA.get(value["type"]) if isinstance(value["type"], str) else None
        if offered and isinstance(value["body"], str):
            return value["body"], offered
    return "", ()


def _choose(accepted: str, offered: tuple[str, ...]) -> str:
    """Return the offered media type that a client prefers."""
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
