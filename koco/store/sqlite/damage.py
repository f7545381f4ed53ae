"""Report a damaged store: its file differs from the data that was written.

The cause is a bad disk, or another program. Every read may run into it, and can only say which
method failed. So one decorator around all of the store's methods reports it, for errors of SQLite
and of decoding rows alike.
"""

import functools
import inspect
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from koco.store.sqlite.writer import StoreError

log = logging.getLogger(__name__)

C = TypeVar("C", bound=type)

#: SQLite's codes for a corrupt file, and for one that is not a database.
_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
#: The message of `sqlite3` for a text that is not UTF-8. It has no code.
_NO_TEXT = "Could not decode to UTF-8"


class DamagedError(StoreError):
    """The store is damaged: its file does not hold what koco wrote."""

    http_status = 500
    code = "damaged"


def is_damage(exc: BaseException) -> bool:
    """Whether an exception means that the stored data is damaged."""
    if isinstance(exc, sqlite3.Error):
        code = getattr(exc, "sqlite_errorcode", None) or 0
        return code & 0xFF in _CODES or _NO_TEXT in str(exc)
    # Decoding a row failed. Values from callers can at worst fail to be encoded.
    is_of_row = isinstance(exc, msgspec.MsgspecError | ValueError | TypeError | LookupError)
    return is_of_row and not isinstance(exc, UnicodeEncodeError)


def told(cls: C) -> C:
    """Decorate the coroutines of a store's class to report damage. The class needs a `path`."""
    for name, method in vars(cls).items():
        if inspect.iscoroutinefunction(method):
            setattr(cls, name, _telling(method))
    return cls


def _telling(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await method(self, *args, **kwargs)
        except DamagedError:
            raise
        except Exception as exc:
            cause = exc.__cause__ if isinstance(exc, StoreError) and exc.__cause__ else exc
            # A mistake in the call itself is raised in this frame, not in a deeper one.
            if not is_damage(cause) or cause.__traceback__ is None or _is_here(cause):
                raise
            raise _damaged(self.path, method.__name__, cause) from cause

    return call


def _is_here(exc: BaseException) -> bool:
    return exc.__traceback__ is not None and exc.__traceback__.tb_next is None


def _damaged(path: Path, where: str, exc: BaseException) -> DamagedError:
    log.error("the store is damaged: %s, read by %s", path, where, exc_info=exc)
    return DamagedError(
        f"the store is damaged: {path} cannot be read ({where}: {exc})",
        hint="`koco down`, keep that file, and put a backup in its place;"
        " docs/clusters.md says how to save what can still be read",
    )
