"""Locks: `/lock/{fid}/{lid}` shows the elements of the form and takes the answer."""

from typing import Any

from litestar import Response, get, post

from koco.api.http import auth
from koco.api.http.request import Request
from koco.api.kodosumi import bodies, inputs
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.routes.flows import errors_of
from koco.api.kodosumi.shapes import elements
from koco.errors import InputsError, NotFoundError
from koco.forms import Model
from koco.store.model import Lock, masked

_PATH = "/lock/{fid:str}/{lid:str}"


@get(_PATH, guards=[requires("read")])
async def show_lock(request: Request, fid: str, lid: str) -> Response[list[dict[str, Any]]]:
    """Show the elements of the form that an open lock is answered with."""
    return Response(await show(request, fid, lid))


async def show(request: Request, fid: str, lid: str) -> list[dict[str, Any]]:
    """Return the elements of the form that an open lock is answered with."""
    lock = await _find_open(request, fid, lid)
    return elements.translate(await _form(request, lock))


@post(_PATH, status_code=200, guards=[requires("launch")])
async def answer_lock(request: Request, fid: str, lid: str) -> Response[dict[str, Any]]:
    """Answer a lock; the answer has the `result` that the flow gets, or `errors`."""
    return Response(await answer(request, fid, lid))


async def answer(request: Request, fid: str, lid: str) -> dict[str, Any]:
    """Answer a lock with a request's body; return the result or the errors, and the elements."""
    lock = await _find_open(request, fid, lid)
    form = await _form(request, lock)
    shown = elements.translate(form)
    given = await bodies.read_object(request)
    release = await request.parts.store.releases.get(lock.service, lock.release)
    if form is not None and not release.manifest.runtime.kodosumi:
        given = inputs.fit(Model.from_list(form), given)
    try:
        found = await request.parts.locks.answer(lock.lid, given, by=request.auth.name)
    except InputsError as exc:
        return {"errors": errors_of(exc), "elements": shown}
    return {"result": masked(found.answer, found.hidden), "elements": shown}


async def _find_open(request: Request, fid: str, lid: str) -> Lock:
    """Return an open lock.

    Raises:
        NotFoundError: there is none, or it is settled.
    """
    execution = await auth.find_execution(request, fid)
    found = await request.parts.locks.find(execution, lid)
    if found.status != "open":
        raise NotFoundError(
            f"Lock {found.lid} for {found.fid} released.", hint=f"it is {found.status}"
        )
    return found


async def _form(request: Request, lock: Lock) -> list[dict[str, Any]] | None:
    return await request.parts.locks.form(lock, user=request.auth.name)


ROUTES = (answer_lock, show_lock)
