"""Stacks: the current calls of executions."""

from litestar import get

from koco.api.http import auth
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.control.executions import stacks
from koco.control.executions.stacks import Stacks
from koco.errors import ConflictError


@get("/v1/executions/{fid:str}/stack", guards=[requires("read")], errors=[ConflictError])
async def show_stack(request: Request, fid: str, *, threads: bool = False) -> Stacks:
    """Show the Python stacks of an execution's process and of its Ray tasks, while they run.

    Frames have file, line and function, the newest call last, and no values.
    """
    execution = await auth.find_execution(request, fid)
    return await stacks.of(execution, request.parts.supervisor, everything=threads)


ROUTES = (show_stack,)
