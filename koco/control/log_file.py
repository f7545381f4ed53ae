"""The control plane's log: one entry for each thing that is said, whatever is in it."""

import logging
import logging.handlers
from pathlib import Path

from koco import tokens

_LOG_BYTES = 10 * 1024 * 1024


class Formatter(logging.Formatter):
    """Writes no key that a request, or its error, has had in it; and what it has as one entry.

    A path may have line breaks in it, and behind one what looks like an entry; or what a terminal
    would obey.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return an entry: its first line begins with the time, no other one does."""
        text = tokens.mask_all(super().format(record)).replace("\n", "\n  ")
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def write_to(path: Path) -> None:
    """Write what koco and its server say into a file, whose folder is its owner's alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=3)
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("koco").addHandler(handler)
    logging.getLogger("koco").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addHandler(handler)
