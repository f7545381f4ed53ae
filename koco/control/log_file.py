"""The control plane's log: one entry for each record, whatever its text contains."""

import logging
import logging.handlers
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

from koco import tokens

#: The id of the request that the present work was begun for, or nothing.
request: ContextVar[str] = ContextVar("request", default="")

_LOG_BYTES = 10 * 1024 * 1024
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class Formatter(logging.Formatter):
    """Removes keys from records and errors, and keeps each record to one entry.

    A path in a request may contain line breaks followed by a fake entry, or control sequences that
    a terminal would obey.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return an entry: its first line begins with the time, no other line does."""
        text = tokens.mask_all(super().format(record)).replace("\n", "\n  ")
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the first part of an entry, in which the request stands before the message."""
        # Always there, so that a message cannot pretend to have another request.
        record.message = f"[{request.get() or '-'}] {record.message}"
        if (fid := getattr(record, "fid", "")) and fid not in record.message:
            record.message += f" [{fid}]"
        return super().formatMessage(record)


class Handler(logging.handlers.RotatingFileHandler):
    """Writes the log to files, and tells those who follow it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_LOG_BYTES, backupCount=BACKUPS)
        self.setFormatter(Formatter(_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry. May be called by any thread."""
        super().emit(record)
        for tell in list(followers):
            tell()


#: How many former files are kept beside the present one.
BACKUPS = 3
#: Called after each entry, by the thread that wrote it.
followers: set[Callable[[], None]] = set()


def write_to(path: Path) -> Handler:
    """Write the log of koco and its server to a file; only its owner can open its folder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = Handler(path)
    logging.getLogger("koco").addHandler(handler)
    logging.getLogger("koco").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addHandler(handler)
    return handler
