"""Pages of rows: so many, and no more than fit into memory with ease."""

import sqlite3
from typing import Any

#: What one page may bring into memory (bytes of text): inputs and locks may be large.
PAGE_BYTES = 8 * 1024 * 1024


def take(rows: sqlite3.Cursor, limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the first rows, at least one if there is any, and whether there are more."""
    taken: list[tuple[Any, ...]] = []
    left = PAGE_BYTES
    for row in rows:
        if len(taken) == limit or (taken and left <= 0):
            rows.close()
            return taken, True
        taken.append(row)
        left -= sum(len(value) for value in row if isinstance(value, str))
    return taken, False
