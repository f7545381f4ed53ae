"""Times in queries: in RFC 3339, or as an age such as `2h`."""

import re
import time
from datetime import UTC, datetime

from koco.errors import UsageError
from koco.events import line

#: An age: a number and a unit.
_AGO = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(name: str, text: str | None) -> str | None:
    """Return a time in the store's form, which can be compared as text. An empty time stays empty.

    A time without a zone is in UTC.

    Raises:
        UsageError: it is not a time. `name` is the parameter's name.
    """
    if text is None:
        return None
    try:
        if found := _AGO.fullmatch(text):
            at = time.time() - int(found[1]) * _UNITS_S[found[2]]
        else:
            given = datetime.fromisoformat(text)
            at = (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
        return line.timestamp(at)
    except (ValueError, OverflowError, OSError) as exc:
        raise UsageError(
            f"{name} is not a time: {text[:80]!r}", hint="such as 2026-01-31T12:00:00Z, or 24h"
        ) from exc
