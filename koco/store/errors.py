"""The errors of a store, the same for every engine."""

from koco.errors import KocoError, UsageError


class StoreError(KocoError):
    """The store could not write: the disk is full, say. Nothing of the change was kept."""

    http_status = 503
    code = "store"


class AwayError(StoreError):
    """The store's database cannot be reached now. It may come back by itself."""


class DamagedError(StoreError):
    """The store is damaged: its file does not hold what koco wrote."""

    http_status = 500
    code = "damaged"


class DeposedError(StoreError):
    """This process no longer leads, so it may not write. Nothing of the change was kept."""

    code = "deposed"


class NoSearchError(KocoError):
    """This Python's SQLite cannot search."""

    http_status = 501
    code = "no_search"


def invalid_cursor(cursor: str) -> UsageError:
    """Return the error for a cursor that no page has issued."""
    return UsageError(f"not a cursor: {cursor!r}", hint="use the `next` of a former page")
