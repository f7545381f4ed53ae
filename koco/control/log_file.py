"""The control plane's log: one entry for each record, whatever its text contains."""

import logging
import logging.handlers
from pathlib import Path

from koco import tokens

_LOG_BYTES = 10 * 1024 * 1024


class Formatter(logging.Formatter):
    """Removes keys from records and errors, and keeps each record to one entry.

    A path in a request may contain line breaks followed by a fake entry, or control sequences that
    a terminal would obey.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return an entry: its first line begins with the time, no other line does."""
        text = tokens.mask_all(super().format(record)).replace("\n", "\n  ")
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def write_to(path: Path) -> None:
    """Write the log of koco and its server to a file; only its owner can open its folder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=3)
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("koco").addHandler(handler)
    logging.getLogger("koco").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addHandler(handler)
