"""Stacks: what executions are in the middle of."""

from typing import Any

from litestar import Request, get
from litestar.datastructures import State

from koco.api import access, shapes
from koco.api.access import requires
from koco.control import stacks
from koco.control.caller import Caller
from koco.control.parts import Parts
from koco.errors import ConflictError


@get(
    "/v1/executions/{fid:str}/stack",
    guards=[requires("read")],
    answers={200: shapes.Stacks},
    errors=[ConflictError],
)
async def show_stack(
    request: Request[Any, Caller, State], fid: str, *, threads: bool = False
) -> dict[str, Any]:
    """Show the Python stacks of an execution's process and of its Ray tasks, as they go on.

    Frames have file, line and function, the newest call last, and no values.
    """
    parts: Parts = request.app.state.parts
    execution = await access.execution(request, fid)
    return await stacks.of(execution, parts.supervisor, everything=threads)


ROUTES = (show_stack,)
