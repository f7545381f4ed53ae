"""Pages of rows, limited in number and in memory."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from koco.store.errors import invalid_cursor

T = TypeVar("T")

#: The memory that one page may need (bytes of text). Inputs and locks may be large, and other
#: requests wait while they are decoded.
PAGE_BYTES = 1024 * 1024
#: A number with more digits is larger than any number here.
_DIGITS = 18


def number(cursor: str) -> int:
    """Return the number in a page's cursor.

    Raises:
        UsageError: it is not a number.
    """
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > _DIGITS:
        raise invalid_cursor(cursor[:80])
    return int(cursor)


def pair(cursor: str) -> tuple[str, str]:
    """Return the two parts of a page's cursor: what the page is ordered by, and an id.

    Raises:
        UsageError: it has no two parts.
    """
    first, tilde, second = cursor.partition("~")
    if not tilde:
        raise invalid_cursor(cursor)
    return first, second


def size(row: Sequence[Any]) -> int:
    """Return the memory that a row needs, as far as it matters (bytes of text)."""
    return sum(len(value) for value in row if isinstance(value, str))


def take(
    rows: Iterable[T], limit: int, *, size: Callable[[Any], int] = size
) -> tuple[list[T], bool]:
    """Return the first rows, at least one if there is any, and whether there are more."""
    taken: list[T] = []
    left = PAGE_BYTES
    for row in rows:
        if len(taken) == limit or (taken and left <= 0):
            return taken, True
        taken.append(row)
        left -= size(row)
    return taken, False
