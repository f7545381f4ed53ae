"""Retry or resume many executions at once: those that are named, or that match a filter."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from litestar import post
from litestar.params import Parameter

from koco.api.http import audit, auth
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi.shapes import Fid, Shape
from koco.api.routes.executions import bulk
from koco.api.routes.executions.bulk import Piece
from koco.api.routes.executions.executions import FILTERS, Filters
from koco.control.executions.bulk import Done
from koco.control.executions.launcher import KEY_LENGTH
from koco.control.tracing import arrived
from koco.errors import TooManyError
from koco.events.model import Status
from koco.store.model import Execution

_ERRORS = [*bulk.ERRORS, TooManyError]
#: A longer key is hashed, because the fid of each execution is put behind it.
_LONGEST_KEY = KEY_LENGTH - 20

#: A new execution, and whether it was launched only now.
_Launched = tuple[Execution, bool]


class Repeat(Shape):
    """An execution, and the new one that does its work again."""

    fid: Fid
    new: Fid


class Retried(Piece):
    """The executions that were retried."""

    retried: list[Repeat]


class Resumed(Piece):
    """The executions that were resumed."""

    resumed: list[Repeat]


@post(
    "/v1/executions/retry",
    status_code=200,
    guards=[requires("launch")],
    headers=[idempotency.HEADER, *arrived.HEADERS],
    answers={200: Retried},
    errors=_ERRORS,
    dependencies=FILTERS,
)
async def retry_executions(
    request: Request,
    *,
    fid: list[str] | None = None,
    filters: Filters,
    again: bool = False,
    limit: int = 100,
    cursor: str | None = None,
) -> Retried:
    """Launch ended executions again: those with one of some fids, or those of a filter.

    Without `status`, a filter finds those with an error. Executions that were retried or resumed
    before are left out, unless `again` is true. The request ends after `limit` executions, after
    five seconds, or where no more may wait; repeat it with `next` as `cursor`. If the first one may
    not wait, the answer is 429.
    """
    parts = request.parts

    async def retry(former: Execution) -> _Launched:
        return await parts.launches.retry(
            parts.catalog.find(former.flow),
            former,
            user=request.auth.name,
            key=_key(request, former),
            audited=audit.launch_entry(request, retry_of=former.fid),
            asker=request.asker,
            only_once=not again,
        )

    made, done = await _repeat(
        request, fid, filters, retry, again=again, limit=limit, cursor=cursor
    )
    return Retried(retried=made, skipped=bulk.describe_skipped(done), next=done.next)


@post(
    "/v1/executions/resume",
    status_code=200,
    guards=[requires("launch")],
    headers=[idempotency.HEADER, *arrived.HEADERS],
    answers={200: Resumed},
    errors=_ERRORS,
    dependencies=FILTERS,
)
async def resume_executions(
    request: Request,
    *,
    fid: list[str] | None = None,
    filters: Filters,
    step: Annotated[
        str | None, Parameter(description="the first step that runs again: its key or its name")
    ] = None,
    release: Annotated[
        Literal["own", "live"],
        Parameter(description="the execution's own release, or the live one"),
    ] = "own",
    again: bool = False,
    limit: int = 100,
    cursor: str | None = None,
) -> Resumed:
    """Launch ended executions again, each with the recorded steps before one of them.

    Everything else is as with `POST /v1/executions/retry`. Only admins may resume executions that
    others launched.
    """

    async def resume(former: Execution) -> _Launched:
        await auth.require_owner(request, former, "resume from the steps")
        return await request.parts.launches.resume(
            former,
            step=step,
            live=release == "live",
            user=request.auth.name,
            key=_key(request, former),
            audited=audit.launch_entry(request, resume_of=former.fid),
            asker=request.asker,
            only_once=not again,
        )

    made, done = await _repeat(
        request, fid, filters, resume, again=again, limit=limit, cursor=cursor
    )
    return Resumed(resumed=made, skipped=bulk.describe_skipped(done), next=done.next)


async def _repeat(
    request: Request,
    fids: list[str] | None,
    filters: Filters,
    launch: Callable[[Execution], Awaitable[_Launched]],
    *,
    again: bool,
    limit: int,
    cursor: str | None,
) -> tuple[list[Repeat], Done]:
    """Launch the selected executions again; return the pairs, and the rest of the piece of work.

    Raises as `bulk.select` and `bulk.act`, and for an invalid key.
    """
    if (key := request.headers.get(idempotency.HEADER)) is not None:
        idempotency.checked(key)
    retried = None if again else False
    selection = await bulk.select(request, fids, filters, (Status.ERROR,), retried=retried)
    new: dict[str, str] = {}

    async def note(former: Execution) -> None:
        execution, _ = await launch(former)
        new[former.fid] = execution.fid

    done = await bulk.act(request, selection, note, limit=limit, cursor=cursor)
    return [Repeat(fid, new[fid]) for fid in done.done], done


def _key(request: Request, former: Execution) -> str | None:
    """Return the idempotency key for one of the executions, if the request has a key."""
    key = request.headers.get(idempotency.HEADER)
    if key is None:
        return None
    if len(key) > _LONGEST_KEY:
        key = hashlib.sha256(key.encode()).hexdigest()
    return f"{key} {former.fid}"


ROUTES = (retry_executions, resume_executions)
