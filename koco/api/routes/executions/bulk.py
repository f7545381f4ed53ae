"""Many executions at once: delete or cancel those that are named, or that match a filter.

`bulk_repeats` does the same to retry and resume them.
"""

from collections.abc import Iterable
from dataclasses import astuple
from functools import partial
from typing import Annotated

from litestar import delete, post
from msgspec import Meta

from koco.api.http import audit, list_query, time_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.openapi.shapes import Fid, Shape, text
from koco.api.routes.executions.executions import FILTERS, Filters, remove
from koco.control.executions import bulk
from koco.errors import TimedOutError, UsageError
from koco.events.model import FINAL, OPEN, Status
from koco.store.errors import NoSearchError
from koco.store.model import Execution, Filter

ERRORS = [*list_query.ERRORS, NoSearchError, TimedOutError]
#: Names of executions, or a filter.
Selection = list[str] | Filter


class Skipped(Shape):
    """An execution to which nothing was done, with the code and the message of an error."""

    fid: Fid
    code: Annotated[str, text("conflict")]
    reason: Annotated[str, text("execution wrq429s8exka3r9k has not ended: it is running")]
    new: Annotated[
        Fid | None, Meta(description="the execution that was launched for it, if that was before")
    ]


class Piece(Shape):
    """A part of the work, and how it goes on."""

    skipped: list[Skipped]
    next: Annotated[
        str | None, Meta(description="`cursor` of the same request for the rest; null at the end")
    ]


class Deleted(Piece):
    """The executions that were deleted."""

    deleted: list[Fid]


class Cancelled(Piece):
    """The executions that were asked to end."""

    cancelled: list[Fid]


@delete(
    "/v1/executions",
    status_code=200,
    guards=[requires("launch")],
    answers={200: Deleted},
    errors=ERRORS,
    dependencies=FILTERS,
)
async def delete_executions(
    request: Request,
    *,
    fid: list[str] | None = None,
    filters: Filters,
    limit: int = 100,
    cursor: str | None = None,
) -> Deleted:
    """Remove executions that have ended: those with one of some fids, or those of a filter.

    Executions that do not exist or have not ended are skipped. The request ends after `limit`
    executions or five seconds; repeat it with `next` as `cursor`.
    """
    selection = await select(request, fid, filters, FINAL)
    delete_it = partial(remove, request.parts)
    done = await act(request, selection, delete_it, limit=limit, cursor=cursor)
    return Deleted(deleted=done.done, skipped=describe_skipped(done), next=done.next)


@post(
    "/v1/executions/cancel",
    status_code=200,
    guards=[requires("launch")],
    answers={200: Cancelled},
    errors=ERRORS,
    dependencies=FILTERS,
)
async def cancel_executions(
    request: Request,
    *,
    fid: list[str] | None = None,
    filters: Filters,
    grace_s: float = 5.0,
    limit: int = 100,
    cursor: str | None = None,
) -> Cancelled:
    """Ask executions to end: those with one of some fids, or those of a filter.

    Executions that do not exist or have ended are skipped. The request ends after `limit`
    executions or five seconds; repeat it with `next` as `cursor`.
    """
    time_query.check_seconds("grace_s", grace_s, most_s=time_query.LONGEST_GRACE_S)

    async def cancel(execution: Execution) -> None:
        await request.parts.supervisor.cancel(execution.fid, grace_s=grace_s)

    selection = await select(request, fid, filters, OPEN)
    done = await act(request, selection, cancel, limit=limit, cursor=cursor)
    return Cancelled(cancelled=done.done, skipped=describe_skipped(done), next=done.next)


async def select(
    request: Request,
    fids: list[str] | None,
    given: Filters,
    statuses: Iterable[Status],
    *,
    retried: bool | None = None,
) -> Selection:
    """Return the selected names, or the filter; of `statuses` if none is given.

    `retried` is only for filters: see `Filter`.

    Raises:
        UsageError: neither or both are given, so that nobody deletes everything by mistake.
    """
    is_filtered = any(astuple(given))
    if bool(fids) == is_filtered:
        raise UsageError(
            "give either `fid` or a filter", hint="such as `?fid=…&fid=…`, or `?status=error`"
        )
    if fids:
        return list_query.fids(fids)
    return await given.read(request, statuses=tuple(sorted(statuses)), retried=retried)


async def act(
    request: Request,
    selection: Selection,
    do: bulk.Act,
    *,
    limit: int,
    cursor: str | None,
) -> bulk.Done:
    """Do something to the selected executions that the caller may see, and note their fids."""
    list_query.check_limit(limit)
    done = await bulk.act_on_all(
        request.parts.store,
        selection,
        do,
        sight=request.auth.sight,
        limit=limit,
        cursor=cursor,
    )
    audit.add(request, fids=done.done, skipped=len(done.skipped))
    return done


def describe_skipped(done: bulk.Done) -> list[Skipped]:
    """Return the skipped executions as answers show them."""
    return [Skipped.of(each) for each in done.skipped]


ROUTES = (delete_executions, cancel_executions)
