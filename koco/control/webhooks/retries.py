"""When a message is sent again that its receiver has not taken."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: The pauses after the first, second, … attempt (seconds): those of Standard Webhooks, three days
#: in all. After the last one it is not tried again.
PAUSES_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: Up to this part of a pause is added to it, so that messages do not all come back at once.
_JITTER = 0.2
#: The longest pause that a receiver may ask for (seconds).
_LONGEST_S = 86_400.0


def pause_s(tries: int, retry_after_s: float = 0.0) -> float | None:
    """Return the pause after so many failed attempts (seconds); None if that was the last one.

    `retry_after_s` is the least that the receiver asks for.
    """
    if tries > len(PAUSES_S):
        return None
    least_s = max(float(PAUSES_S[tries - 1]), min(retry_after_s, _LONGEST_S))
    return least_s * (1 + random.uniform(0, _JITTER))


def retry_after_s(value: str) -> float:
    """Return the seconds in a header `Retry-After`; 0 if it has none."""
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
