"""Locks: executions that wait for a person, and the answers."""

from typing import Annotated, Any, Literal, Self, get_args

import msgspec
from litestar import get, post
from litestar.params import Parameter
from msgspec import UNSET, UnsetType

from koco.api.http import auth, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Shape, Time, text
from koco.errors import EndpointError, InputsError, TimedOutError, UsageError
from koco.events import line
from koco.store import model
from koco.store.model import Page, masked

_Status = Literal["open", "answered", "expired", "withdrawn"]
_STATUSES = get_args(_Status)
_ABOUT_STATUS = f"only with this status: {', '.join(_STATUSES)}"


class Lock(Shape):
    """An execution's pause for a person."""

    lid: Annotated[str, text("5r2k8c0q1x7m3t9d")]
    fid: shapes.Fid
    flow: shapes.Flow
    service: shapes.Service
    release: shapes.Number
    name: Annotated[str, text("approval")]
    data: shapes.Json
    status: _Status
    created: Time
    expires: Time
    answer: shapes.Json
    settled: Time | None
    by: shapes.Person | None

    @classmethod
    def render(cls, lock: model.Lock, **others: Any) -> Self:
        """Return a lock as answers show it."""
        answer = masked(lock.answer, lock.hidden)
        return cls.of(lock, expires=line.timestamp(lock.expires), answer=answer, **others)


class LockWithForm(Lock):
    """A lock and the form for its answer. The form is null if any JSON value is accepted."""

    form: list[dict[str, Any]] | None
    dialect: Annotated[str | UnsetType, text("kodosumi")] = UNSET


@get("/v1/locks", guards=[requires("read")], errors=list_query.ERRORS)
async def list_locks(
    request: Request,
    *,
    status: Annotated[str, Parameter(description=_ABOUT_STATUS)] = "open",
    flow: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Lock]:
    """List the open locks of all executions, or those with another status, oldest first."""
    if status not in _STATUSES:
        raise UsageError(
            f"no lock's status is called {status!r}", hint=f"one of: {', '.join(_STATUSES)}"
        )
    list_query.check_limit(limit)
    name = list_query.full_name(request, flow)
    page = await request.parts.store.locks.page(
        status=status, flow=name, sight=request.auth.sight, limit=limit, cursor=cursor
    )
    return Page([Lock.render(lock) for lock in page.items], page.next)


@get("/v1/executions/{fid:str}/locks", guards=[requires("read")])
async def list_execution_locks(
    request: Request, fid: str, *, limit: int = 50, cursor: str | None = None
) -> Page[Lock]:
    """List an execution's locks, whatever their status, oldest first."""
    list_query.check_limit(limit)
    execution = await auth.find_execution(request, fid)
    page = await request.parts.store.locks.page_of(execution.id, limit=limit, cursor=cursor)
    return Page([Lock.render(lock) for lock in page.items], page.next)


@get(
    "/v1/executions/{fid:str}/locks/{lock:str}",
    guards=[requires("read")],
    errors=[EndpointError, TimedOutError],
)
async def show_lock(request: Request, fid: str, lock: str) -> LockWithForm:
    """Show a lock, by lid, unique prefix or name, with the form for its answer."""
    locks = request.parts.locks
    execution = await auth.find_execution(request, fid)
    found = await locks.find(execution, lock)
    form = await locks.form(found, user=request.auth.name) if found.status == "open" else None
    return LockWithForm.render(found, form=form, dialect=execution.dialect or UNSET)


@post(
    "/v1/executions/{fid:str}/locks/{lock:str}",
    status_code=200,
    guards=[requires("launch")],
    body=shapes.Json,
    headers=[idempotency.HEADER],
    errors=[InputsError, EndpointError, TimedOutError],
)
# The answer may contain a password.
@idempotency.keyed(has_secret=True)
async def answer_lock(request: Request, fid: str, lock: str) -> Lock:
    """Answer a lock with the body, any JSON value; the flow has it when this returns."""
    parts = request.parts
    found = await parts.locks.find(await auth.find_execution(request, fid), lock)
    body = await request.body()
    try:
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise UsageError(
            f"the body is not JSON: {exc}", hint="send the answer, such as {} or true or null"
        ) from exc
    return Lock.render(await parts.locks.answer(found.lid, given, by=request.auth.name))


ROUTES = (list_locks, list_execution_locks, show_lock, answer_lock)
