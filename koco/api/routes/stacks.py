"""Stacks: what executions are in the middle of."""

from typing import Any

from litestar import Request, get
from litestar.datastructures import State

from koco.api.http import auth
from koco.api.http.auth import requires
from koco.api.openapi import schemas
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.executions import stacks
from koco.errors import ConflictError


@get(
    "/v1/executions/{fid:str}/stack",
    guards=[requires("read")],
    answers={200: schemas.Stacks},
    errors=[ConflictError],
)
async def show_stack(
    request: Request[Any, Caller, State], fid: str, *, threads: bool = False
) -> dict[str, Any]:
    """Show the Python stacks of an execution's process and of its Ray tasks, as they go on.

    Frames have file, line and function, the newest call last, and no values.
    """
    parts: Parts = request.app.state.parts
    execution = await auth.execution(request, fid)
    return await stacks.of(execution, parts.supervisor, everything=threads)


ROUTES = (show_stack,)
