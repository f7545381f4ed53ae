"""Executions: list, show, cancel, delete."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import msgspec
from litestar import delete, get, post
from litestar.di import Provide
from litestar.params import Parameter
from msgspec import UNSET, Meta, UnsetType

from koco.api.http import auth, json_body, list_query, time_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.annotations import JSON, Body
from koco.api.openapi.shapes import Fid, Shape, Time, text
from koco.api.routes.executions.locks import Lock
from koco.api.routes.executions.results import Result, outcome_of
from koco.control.container import Parts
from koco.errors import ConflictError, TimedOutError, UsageError
from koco.events import line
from koco.events.model import OPEN, Status
from koco.store import model
from koco.store.errors import NoSearchError
from koco.store.model import Filter, masked


class Failure(Shape):
    """The error that an execution ended with."""

    type: Annotated[str, text("ValueError")]
    message: str


class Progress(Shape):
    """How far a flow says it is."""

    done: float
    total: Annotated[float | None, Meta(description="null if the flow does not know it")]
    message: str | None


class Used(Shape):
    """What an execution has used so far, in all its attempts together."""

    wall_s: Annotated[float, Meta(description="how long processes have run it")]
    cpu_s: Annotated[float, Meta(description="the CPU time of these processes for it")]
    peak_memory_bytes: Annotated[
        int, Meta(description="the most that one of these processes had meanwhile")
    ]
    ray_tasks: Annotated[int, Meta(description="the Ray tasks and actors that it started")]
    stored_bytes: Annotated[int, Meta(description="its events, files and recorded steps")]


class Execution(Shape):
    """One run of a flow."""

    fid: Fid
    flow: shapes.Flow
    service: shapes.Service
    release: shapes.Number
    status: Status
    inputs: shapes.Object
    user: shapes.Person
    tags: tuple[str, ...]
    created: Time
    started: Time | None
    finished: Time | None
    last_seq: Annotated[int, Meta(description="the number of its latest event")]
    error: Failure | None
    entrypoint: Annotated[
        str, Meta(description="the entrypoint that the service's own endpoint chose, or empty")
    ]
    key: Annotated[str | None, Meta(description="the idempotency key of its launch")]
    attempt: Annotated[
        int,
        Meta(description="the number of its attempt, from 1; to resume and to be parked is none"),
    ]
    attempts: Annotated[int, Meta(description="the most attempts that it may have")]
    not_before: Time | None
    deadline: Time | None
    waits: Annotated[
        str | None,
        Meta(description="why it is queued, or what its process does if it does not answer"),
    ]
    retry_of: Annotated[Fid | None, Meta(description="the execution that it is a retry of")]
    resume_of: Annotated[
        Fid | None, Meta(description="the execution whose recorded steps it took over")
    ]
    parent: Annotated[Fid | None, Meta(description="the execution that launched it")]
    durable: Annotated[bool, Meta(description="whether it survives its process")]
    resumed: Annotated[int, Meta(description="how often another process went on with it")]
    parked: Annotated[bool, Meta(description="whether it has no process, because it only waits")]
    progress: Annotated[Progress | None, Meta(description="what its flow last said of it")]
    used: Annotated[
        Used | None, Meta(description="null until one of its processes has told, or it has ended")
    ]

    trace_id: Annotated[
        str,
        text("0af7651916cd43dd8448eb211c80319c", "the trace that it belongs to, as W3C defines it"),
    ]

    @classmethod
    def render(cls, parts: Parts, execution: model.Execution, **others: Any) -> Self:
        """Return an execution as answers show it."""
        if "waits" not in others:
            others["waits"] = parts.supervisor.why(execution)
        return cls.of(
            execution,
            inputs=masked(execution.inputs, execution.hidden),
            not_before=line.timestamp_if_any(execution.not_before),
            deadline=line.timestamp_if_any(execution.deadline),
            attempt=execution.tries,
            attempts=1 + execution.policy.retries,
            durable=execution.policy.durable,
            progress=None if execution.progress is None else Progress.of(execution.progress),
            used=None if execution.used is None else Used.of(execution.used),
            **others,
        )


class ExecutionInFull(Execution):
    """One run of a flow, with the parts that `include` names."""

    outcome: (
        Annotated[Result | None, Meta(description="null until the execution has ended")] | UnsetType
    ) = UNSET
    locks: (
        Annotated[list[Lock], Meta(description="its open locks, oldest first, 1000 at most")]
        | UnsetType
    ) = UNSET


class Executions(Shape):
    """A page of executions."""

    items: list[Execution]
    next: str | None
    complete: (
        Annotated[bool, Meta(description="of a search: whether it covered all executions")]
        | UnsetType
    ) = UNSET


@dataclass(frozen=True, kw_only=True)
class StreamFilters:
    """Query parameters that choose executions, as they were given."""

    status: str | None = None
    flow: str | None = None
    service: str | None = None
    user: str | None = None
    tag: list[str] | None = None
    since: str | None = None
    until: str | None = None

    async def read(self, request: Request) -> Filter:
        """Return the filter."""
        return Filter(
            statuses=list_query.names(self.status, Status),
            flow=list_query.full_name(request, self.flow),
            service=self.service,
            user=self.user,
            tags=tuple(self.tag or ()),
            since=time_query.parse("since", self.since),
            until=time_query.parse("until", self.until),
        )


@dataclass(frozen=True, kw_only=True)
class Filters(StreamFilters):
    """Those parameters, and two that a stream of events does not take."""

    parent: str | None = None
    search: str | None = None

    async def read(
        self, request: Request, *, statuses: tuple[str, ...] = (), retried: bool | None = None
    ) -> Filter:
        """Return the filter; of `statuses` if none is given."""
        shared = await super().read(request)
        parent = None
        if self.parent is not None:
            parent = (await auth.find_execution(request, self.parent)).fid
        return msgspec.structs.replace(
            shared,
            statuses=shared.statuses or statuses,
            parent=parent,
            search=self.search,
            retried=retried,
        )


#: `dependencies=` of a route that has these parameters as its argument `filters`.
FILTERS = {"filters": Provide(Filters, sync_to_thread=False)}
STREAM_FILTERS = {"filters": Provide(StreamFilters, sync_to_thread=False)}


class CancelRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How long the execution may take to end by itself (seconds)."""

    grace_s: float = 5.0


@get(
    "/v1/executions",
    guards=[requires("read")],
    errors=[*list_query.ERRORS, NoSearchError, TimedOutError],
    dependencies=FILTERS,
)
async def list_executions(
    request: Request,
    *,
    filters: Filters,
    retried: Annotated[
        bool | None,
        Parameter(description="only those that were retried or resumed, or those that were not"),
    ] = None,
    active: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> Executions:
    """List the executions that match all parameters, newest first.

    A page may have fewer than `limit` items, or none, and still have a `next`: if few of many
    executions match, it ends after a quarter of a second, and `next` continues from there. With
    `search`, `complete` says whether all executions were searched: after an upgrade, the index of
    the existing ones is made in the background, newest first.
    """
    parts = request.parts
    list_query.check_limit(limit)
    wanted = await filters.read(request, statuses=OPEN if active else (), retried=retried)
    page = await parts.store.executions.page(
        wanted, sight=request.auth.sight, limit=limit, cursor=cursor
    )
    rendered = request.app.state.rendered
    return Executions(
        [rendered.of(parts, execution) for execution in page.items],
        next=page.next,
        complete=UNSET if wanted.search is None else page.complete,
    )


@get("/v1/executions/{fid:str}", guards=[requires("read")])
async def show_execution(
    request: Request, fid: str, *, include: str | None = None
) -> ExecutionInFull:
    """Show an execution, by fid, unique prefix or `latest`.

    With `include`, also its outcome, as `…/result` shows it, and its open locks. All of the answer
    is of one moment.
    """
    parts, wanted = request.parts, set(filter(None, (include or "").split(",")))
    if unknown := sorted(wanted - {"outcome", "locks"}):
        raise UsageError(f"include: there is no {unknown[0][:80]!r}", hint="outcome, locks or both")
    execution = await auth.find_execution(request, fid)
    if not wanted:
        return ExecutionInFull.render(parts, execution, outcome=UNSET, locks=UNSET)
    snapshot = await parts.store.snapshots.get(
        execution.fid, outcome="outcome" in wanted, locks="locks" in wanted
    )
    now = snapshot.execution
    outcome = outcome_of(snapshot) if now.status.is_final else None
    return ExecutionInFull.render(
        parts,
        now,
        outcome=outcome if "outcome" in wanted else UNSET,
        locks=[Lock.render(each) for each in snapshot.locks] if "locks" in wanted else UNSET,
    )


@post(
    "/v1/executions/{fid:str}/cancel",
    status_code=202,
    guards=[requires("launch")],
    body=Body(media={JSON: CancelRequest}, required=False),
)
async def cancel_execution(request: Request, fid: str) -> Execution:
    """Ask an execution to end; it is killed if it has not ended after the grace period."""
    hint = 'such as {"grace_s": 5}, or none'
    wish = await json_body.read(request, CancelRequest, hint=hint, default=b"{}")
    time_query.check_seconds("grace_s", wish.grace_s, most_s=time_query.LONGEST_GRACE_S)
    found = await auth.find_execution(request, fid)
    ending = await request.parts.supervisor.cancel(found.fid, grace_s=wish.grace_s)
    return Execution.render(request.parts, ending)


@delete(
    "/v1/executions/{fid:str}",
    status_code=204,
    guards=[requires("launch")],
    errors=[ConflictError],
)
async def delete_execution(request: Request, fid: str) -> None:
    """Remove an execution that has ended, with its events, files and locks."""
    await remove(request.parts, await auth.find_execution(request, fid))


async def remove(parts: Parts, execution: model.Execution) -> None:
    """Delete an execution, and end its streams. Raises as `executions.delete` of the store."""
    await parts.store.executions.delete(execution.fid)
    parts.spooler.wake(execution.fid)


ROUTES = (
    list_executions,
    show_execution,
    cancel_execution,
    delete_execution,
)
