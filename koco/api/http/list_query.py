"""What all lists are asked for alike: how many, from where on, and of which flow."""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from litestar import Request
from litestar.datastructures import State

from koco.api.http import auth
from koco.control.access.caller import Caller
from koco.errors import ConflictError, NotFoundError, UsageError

T = TypeVar("T")

#: What a short name of a flow may run into.
ERRORS = [NotFoundError, ConflictError]

_PAGE_LIMIT = 1000


def check_limit(limit: int) -> None:
    """Refuse a page of no size, or of one that is too large."""
    if not 1 <= limit <= _PAGE_LIMIT:
        raise UsageError(f"limit must be from 1 to {_PAGE_LIMIT}, got {limit}")


def page(
    items: Iterable[T], *, by: Callable[[T], str], limit: int, cursor: str | None
) -> tuple[list[T], str | None]:
    """Return a page of what is all in memory, in the order of a name that each has.

    The cursor has the last name of the page before: what comes or goes meanwhile moves nothing.
    """
    check_limit(limit)
    after = _name(cursor) if cursor is not None else None
    left = sorted((each for each in items if after is None or by(each) > after), key=by)
    more = len(left) > limit
    return left[:limit], _cursor(by(left[limit - 1])) if more else None


def _cursor(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name(cursor: str) -> str:
    try:
        # The decoder drops what is no base64, and would so take what nobody has been given.
        name = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (ValueError, binascii.Error):
        name = ""
    if not name or _cursor(name) != cursor:
        raise UsageError(f"not a cursor: {cursor[:80]!r}", hint="use the `next` of a former page")
    return name


def full_name(request: Request[Any, Caller, State], flow: str | None) -> str | None:
    """Return a flow's full name; one that is given in full need not be live."""
    return flow if flow is None or "/" in flow else auth.flow(request, flow).name
