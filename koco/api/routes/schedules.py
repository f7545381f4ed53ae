"""Schedules: list, pause, resume and trigger them."""

from typing import Annotated

import msgspec
from litestar import Response, get, post
from msgspec import Meta

from koco.api.http import audit, list_query
from koco.api.http.auth import require_own, requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Shape
from koco.control.executions.scheduling.orders import ScheduleOrders
from koco.control.executions.scheduling.schedules import ScheduleState, Watch
from koco.control.tracing import arrived
from koco.errors import ConflictError, EndpointError, InputsError, NotFoundError, TimedOutError
from koco.store.model import Page

_ERRORS = [NotFoundError, ConflictError]


class Schedule(ScheduleState, frozen=True, kw_only=True):
    """A schedule, and the full name of its flow."""

    flow: shapes.Flow


class Schedules(Shape):
    """The schedules that were paused or resumed."""

    items: list[Schedule]
    next: None


class Triggered(Shape):
    """The execution of a schedule that was triggered."""

    result: shapes.Fid


class ScheduleName(msgspec.Struct, forbid_unknown_fields=True):
    """A schedule: its id, a unique beginning of it, or its flow for all of the flow's schedules."""

    schedule: Annotated[str, Meta(examples=["report/daily"])]


@get("/v1/schedules", guards=[requires("read")], errors=_ERRORS)
async def list_schedules(
    request: Request, *, flow: str | None = None, limit: int = 1000, cursor: str | None = None
) -> Page[Schedule]:
    """List the schedules of live releases: all that the caller may see, or those of a flow."""
    await request.parts.schedules.up_to_date()
    found = request.parts.schedule_orders.visible(request.auth.reaches, flow)
    page = list_query.page(
        found, by=lambda each: f"{each.flow} {each.public_id}", limit=limit, cursor=cursor
    )
    return Page([_render(request, each) for each in page.items], page.next)


@post("/v1/schedules/pause", status_code=200, guards=[requires("deploy")], errors=_ERRORS)
async def pause_schedule(request: Request, data: ScheduleName) -> Schedules:
    """Pause a schedule, or all of a flow: it launches nothing until it is resumed.

    That survives restarts and deploys. If a flow is named, schedules that later releases add to it
    are paused, too.
    """
    orders = await _orders_of_own(request, data)
    found = await orders.pause(data.schedule, by=request.auth.name, sees=request.auth.reaches)
    return _changed(request, found)


@post("/v1/schedules/resume", status_code=200, guards=[requires("deploy")], errors=_ERRORS)
async def resume_schedule(request: Request, data: ScheduleName) -> Schedules:
    """Resume a schedule, or all of a flow. Times that passed meanwhile are not made up for."""
    orders = await _orders_of_own(request, data)
    return _changed(request, await orders.resume(data.schedule, sees=request.auth.reaches))


@post(
    "/v1/schedules/trigger",
    guards=[requires("launch")],
    headers=[idempotency.HEADER, *arrived.HEADERS],
    answers={201: Triggered, 200: Triggered},
    errors=[*_ERRORS, InputsError, EndpointError, TimedOutError],
)
async def trigger_schedule(request: Request, data: ScheduleName) -> Response[Triggered]:
    """Launch a schedule's flow now, with the schedule's inputs, also if it is paused.

    The execution belongs to the caller, and is the schedule's last run from then on. Unless the
    schedule has `overlap`, it is refused while the last run has not ended. The answer is 201, or
    200 if the idempotency key was already used for this.
    """
    await request.parts.schedules.up_to_date()
    execution, is_new = await request.parts.schedule_orders.trigger(
        data.schedule,
        user=request.auth.name,
        sees=request.auth.reaches,
        key=request.headers.get(idempotency.HEADER),
        audited=audit.launch_entry(request, schedule=data.schedule),
        asker=request.asker,
    )
    return Response(Triggered(execution.fid), status_code=201 if is_new else 200)


async def _orders_of_own(request: Request, named: ScheduleName) -> ScheduleOrders:
    """Return what changes schedules. Refuse those of a service that is another person's own."""
    audit.add(request, target=named.schedule)
    orders = request.parts.schedule_orders
    await request.parts.schedules.up_to_date()
    for each in orders.visible(request.auth.reaches, named.schedule):
        require_own(request.auth, each.service)
    return orders


def _changed(request: Request, found: list[Watch]) -> Schedules:
    return Schedules([_render(request, each) for each in found], None)


def _render(request: Request, watch: Watch) -> Schedule:
    state = request.parts.schedules.describe(watch)
    return Schedule(flow=watch.flow, **msgspec.structs.asdict(state))


ROUTES = (list_schedules, pause_schedule, resume_schedule, trigger_schedule)
