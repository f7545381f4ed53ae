"""Usage: the number of executions of each service, flow, user or day, and what they used."""

from typing import Annotated, Any, Self

from litestar import get
from msgspec import UNSET, Meta, UnsetType

from koco.api.http import list_query, time_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Shape, text
from koco.errors import TimedOutError, UsageError
from koco.events.model import Status
from koco.store import usage
from koco.store.model import Page
from koco.store.usage import UsageQuery, UsageRow

_DAY = len("2026-01-31")
_Percentile = Annotated[
    float | None, Meta(description="within a tenth; null if none of them ran to its end")
]


class Usage(Shape):
    """A group of executions. It has the members by which it is grouped."""

    executions: int
    duration_s: Annotated[
        float, Meta(description="from start to end, of all that have ended, together")
    ]
    p50_s: _Percentile
    p95_s: _Percentile
    event_bytes: int
    file_bytes: Annotated[int, Meta(description="of executions that have ended")]
    wall_s: Annotated[float, Meta(description="how long processes ran those that have ended")]
    cpu_s: Annotated[float, Meta(description="the CPU time of these processes for them")]
    peak_memory_bytes: Annotated[int, Meta(description="of the execution that had the most")]
    ray_tasks: int
    stored_bytes: Annotated[int, Meta(description="events, files and recorded steps")]
    day: Annotated[str, text("2026-01-31", "the day of the launch, in UTC")] | UnsetType = UNSET
    service: shapes.Service | UnsetType = UNSET
    flow: shapes.Flow | UnsetType = UNSET
    user: shapes.Person | UnsetType = UNSET
    status: Status | UnsetType = UNSET

    @classmethod
    def render(cls, row: UsageRow) -> Self:
        """Return a group as answers show it."""
        keys: dict[str, Any] = {
            name: UNSET if (value := getattr(row, name)) is None else value for name in usage.GROUPS
        }
        return cls.of(row, **keys)


@get("/v1/usage", guards=[requires("read")], errors=[*list_query.ERRORS, TimedOutError])
async def show_usage(
    request: Request,
    *,
    by: str = "flow,status",
    status: str | None = None,
    flow: str | None = None,
    user: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Usage]:
    """Count executions by day, service, flow, user and status, with what they used.

    Times stand for whole days in UTC: `since` for its day and those after it, `until` for the days
    before its day. Deleted executions stay counted.
    """
    list_query.check_limit(limit)
    query = UsageQuery(
        by=_groups(by),
        since=_day("since", since),
        until=_day("until", until),
        flow=list_query.full_name(request, flow),
        user=user,
        statuses=list_query.names(status, Status),
    )
    page = await request.parts.store.usage.page(
        query, sight=request.auth.sight, limit=limit, cursor=cursor
    )
    return Page([Usage.render(row) for row in page.items], page.next)


def _groups(by: str) -> tuple[str, ...]:
    """Return the names in `by`, in their fixed order."""
    names = set(filter(None, by.split(",")))
    known = ", ".join(usage.GROUPS)
    if unknown := sorted(names - set(usage.GROUPS)):
        raise UsageError(f"by: there is no {unknown[0][:80]!r}", hint=f"one or more of: {known}")
    if not names:
        raise UsageError("by is empty", hint=f"one or more of: {known}")
    return tuple(name for name in usage.GROUPS if name in names)


def _day(name: str, given: str | None) -> str | None:
    moment = time_query.parse(name, given)
    return None if moment is None else moment[:_DAY]


ROUTES = (show_usage,)
