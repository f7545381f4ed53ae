"""Locks: what waits for a person, and the answers."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.datastructures import State
from litestar.params import Parameter

from koco.api.http import auth, list_query
from koco.api.http.auth import requires
from koco.api.middleware import idempotency
from koco.api.openapi import schemas
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.errors import EndpointError, InputsError, TimedOutError, UsageError
from koco.events import line
from koco.store.model import Lock, masked

_STATUSES = ("open", "answered", "expired", "withdrawn")
_ABOUT_STATUS = f"with this status only: {', '.join(_STATUSES)}"


def _render(lock: Lock) -> dict[str, Any]:
    fields = {**msgspec.structs.asdict(lock), "expires": line.timestamp(lock.expires)}
    fields["answer"] = masked(lock.answer, lock.hidden)
    del fields["moments"], fields["hidden"]
    return fields


@get(
    "/v1/locks",
    guards=[requires("read")],
    answers={200: schemas.Page[schemas.Lock]},
    errors=list_query.ERRORS,
)
async def list_locks(
    request: Request[Any, Caller, State],
    *,
    status: Annotated[str, Parameter(description=_ABOUT_STATUS)] = "open",
    flow: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List the open locks of all executions, or those with another status, oldest first."""
    parts: Parts = request.app.state.parts
    if status not in _STATUSES:
        raise UsageError(
            f"no lock's status is called {status!r}", hint=f"one of: {', '.join(_STATUSES)}"
        )
    list_query.check_limit(limit)
    name = list_query.full_name(request, flow)
    page = await parts.store.locks.page(
        status=status, flow=name, sight=request.auth.sight, limit=limit, cursor=cursor
    )
    return {"items": [_render(lock) for lock in page.items], "next": page.next}


@get(
    "/v1/executions/{fid:str}/locks",
    guards=[requires("read")],
    answers={200: schemas.Page[schemas.Lock]},
)
async def list_execution_locks(
    request: Request[Any, Caller, State], fid: str, *, limit: int = 50, cursor: str | None = None
) -> dict[str, Any]:
    """List an execution's locks, whatever became of them, oldest first."""
    parts: Parts = request.app.state.parts
    list_query.check_limit(limit)
    execution = await auth.execution(request, fid)
    page = await parts.store.locks.page_of(execution.id, limit=limit, cursor=cursor)
    return {"items": [_render(lock) for lock in page.items], "next": page.next}


@get(
    "/v1/executions/{fid:str}/locks/{lock:str}",
    guards=[requires("read")],
    answers={200: schemas.LockWithForm},
    errors=[EndpointError, TimedOutError],
)
async def show_lock(request: Request[Any, Caller, State], fid: str, lock: str) -> dict[str, Any]:
    """Show a lock, by lid, unique prefix or name, with the form that answers it."""
    parts: Parts = request.app.state.parts
    found = await parts.locks.find(await auth.execution(request, fid), lock)
    form = None
    if found.status == "open":
        form = await parts.locks.form(found, user=request.auth.name)
    return {**_render(found), "form": form}


@post(
    "/v1/executions/{fid:str}/locks/{lock:str}",
    status_code=200,
    guards=[requires("launch")],
    body=schemas.Json,
    answers={200: schemas.Lock},
    headers=[idempotency.HEADER],
    errors=[InputsError, EndpointError, TimedOutError],
)
# The answer may have a password in it.
@idempotency.keyed(has_secret=True)
async def answer_lock(request: Request[Any, Caller, State], fid: str, lock: str) -> dict[str, Any]:
    """Answer a lock with the body, any JSON value; the flow has it once this returns."""
    parts: Parts = request.app.state.parts
    found = await parts.locks.find(await auth.execution(request, fid), lock)
    body = await request.body()
    try:
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise UsageError(
            f"the body is no JSON: {exc}", hint="send the answer, such as {} or true or null"
        ) from exc
    return _render(await parts.locks.answer(found.lid, given, by=request.auth.name))


ROUTES = (list_locks, list_execution_locks, show_lock, answer_lock)
