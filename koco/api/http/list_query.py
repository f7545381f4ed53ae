"""The query parameters that all lists share: limit, cursor and flow."""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TypeVar

from koco.api.http import auth
from koco.api.http.request import Request
from koco.errors import ConflictError, NotFoundError, UsageError
from koco.events.model import Kind, Status
from koco.events.steps import StepStatus
from koco.store.errors import invalid_cursor
from koco.store.model import Page

T = TypeVar("T")

#: The errors that a short name of a flow may cause.
ERRORS = [NotFoundError, ConflictError]

_PAGE_LIMIT = 1000
#: The most executions that one request names.
_FIDS = 1000


def check_limit(limit: int) -> None:
    """Refuse a limit below one or above the maximum."""
    if not 1 <= limit <= _PAGE_LIMIT:
        raise UsageError(f"limit must be from 1 to {_PAGE_LIMIT}, got {limit}")


def page(items: Iterable[T], *, by: Callable[[T], str], limit: int, cursor: str | None) -> Page[T]:
    """Return a page of items that are all in memory, ordered by name.

    The cursor holds the last name of the previous page, so items that come or go meanwhile do not
    shift the pages.
    """
    check_limit(limit)
    after = _name(cursor) if cursor is not None else None
    left = sorted((each for each in items if after is None or by(each) > after), key=by)
    has_more = len(left) > limit
    return Page(left[:limit], _cursor(by(left[limit - 1])) if has_more else None)


def _cursor(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name(cursor: str) -> str:
    try:
        # The decoder ignores characters outside base64, and would accept cursors that were never
        # issued.
        name = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (ValueError, binascii.Error):
        name = ""
    if not name or _cursor(name) != cursor:
        raise invalid_cursor(cursor[:80])
    return name


def full_name(request: Request, flow: str | None) -> str | None:
    """Return a flow's full name. If it is given in full, the flow need not be live."""
    return flow if flow is None or "/" in flow else auth.find_flow(request, flow).name


def fids(given: list[str]) -> list[str]:
    """Return the executions that a request names, each once.

    Raises:
        UsageError: it names too many.
    """
    if len(given) > _FIDS:
        raise UsageError(f"at most {_FIDS} fids in one request, got {len(given)}")
    return list(dict.fromkeys(given))


def names(
    given: str | None, known: type[Kind] | type[Status] | type[StepStatus]
) -> tuple[str, ...]:
    """Return the names in a comma-separated parameter, each checked."""
    names = tuple(name for name in (given or "").split(",") if name)
    for name in names:
        if name not in set(known):
            raise UsageError(
                f"no {known.__name__.removeprefix('Step').lower()} is called {name!r}",
                hint=f"one of: {', '.join(known)}",
            )
    return names
