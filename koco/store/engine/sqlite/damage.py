"""Recognise a damaged store: its file differs from the data that was written.

The cause is a bad disk, or another program. Every read may run into it, so the engine passes all
errors of reads and changes through here: those of SQLite, and those of decoding rows.
"""

import logging
import sqlite3
from pathlib import Path

import msgspec

from koco.errors import KocoError
from koco.store.errors import DamagedError, StoreError

log = logging.getLogger(__name__)

#: SQLite's codes for a corrupt file, and for one that is not a database.
_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
#: The message of `sqlite3` for a text that is not UTF-8. It has no code.
NOT_UTF8 = "Could not decode to UTF-8"
#: The messages of SQLite if the text of a trigger is damaged: it names something missing.
_NO_NAME = ("no such table: main.", "no such column: new.", "no such column: old.")


def translate(exc: Exception, *, path: Path, where: str) -> DamagedError | None:
    """Return the error for a damaged store, or None if `exc` has another reason.

    `where` names the work that met it.
    """
    is_store_error = isinstance(exc, StoreError) and not isinstance(exc, DamagedError)
    if isinstance(exc, KocoError) and not is_store_error:
        return None  # some refusals are a `ValueError` as well
    cause = exc.__cause__ if is_store_error and exc.__cause__ else exc
    # While it is opened, a step of a migration may be wrong instead.
    is_unknown_name = where != "open" and isinstance(cause, sqlite3.Error)
    if not (is_damage(cause) or (is_unknown_name and str(cause).startswith(_NO_NAME))):
        return None
    log.error("the store is damaged: %s, read by %s", path, where, exc_info=cause)
    error = DamagedError(
        f"the store is damaged: {path} cannot be read ({where}: {cause})",
        hint="`koco down`, keep that file, and put a backup in its place;"
        " docs/clusters.md says how to save what can still be read",
    )
    error.__cause__ = cause
    return error


def is_damage(exc: BaseException) -> bool:
    """Whether an exception means that the stored data is damaged."""
    if isinstance(exc, sqlite3.Error):
        code = getattr(exc, "sqlite_errorcode", None) or 0
        return code & 0xFF in _CODES or NOT_UTF8 in str(exc)
    # Decoding a row failed. Values from callers can at worst fail to be encoded.
    is_of_row = isinstance(exc, msgspec.MsgspecError | ValueError | TypeError | LookupError)
    return is_of_row and not isinstance(exc, UnicodeEncodeError)
