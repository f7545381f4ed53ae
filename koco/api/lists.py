"""What lists of executions and of locks are asked for alike: how many, and of which flow."""

from koco.control.parts import Parts
from koco.errors import ConflictError, NotFoundError, UsageError

#: What a short name of a flow may run into.
ERRORS = [NotFoundError, ConflictError]

_PAGE_LIMIT = 1000


def check_limit(limit: int) -> None:
    """Refuse a page of no size, or of one that is too large."""
    if not 1 <= limit <= _PAGE_LIMIT:
        raise UsageError(f"limit must be from 1 to {_PAGE_LIMIT}, got {limit}")


def full_name(parts: Parts, flow: str | None) -> str | None:
    """Return a flow's full name; one that is given in full need not be live."""
    return parts.catalog.find(flow).name if flow is not None and "/" not in flow else flow
