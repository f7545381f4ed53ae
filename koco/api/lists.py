"""What lists of executions and of locks are asked for alike: how many, and of which flow."""

from typing import Any

from litestar import Request
from litestar.datastructures import State

from koco.api import access
from koco.control.caller import Caller
from koco.errors import ConflictError, NotFoundError, UsageError

#: What a short name of a flow may run into.
ERRORS = [NotFoundError, ConflictError]

_PAGE_LIMIT = 1000


def check_limit(limit: int) -> None:
    """Refuse a page of no size, or of one that is too large."""
    if not 1 <= limit <= _PAGE_LIMIT:
        raise UsageError(f"limit must be from 1 to {_PAGE_LIMIT}, got {limit}")


def full_name(request: Request[Any, Caller, State], flow: str | None) -> str | None:
    """Return a flow's full name; one that is given in full need not be live."""
    return flow if flow is None or "/" in flow else access.flow(request, flow).name
