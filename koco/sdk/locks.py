"""The lock that a flow opens to ask a person: its question, and the meaning of its end."""

import re
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from koco.errors import UsageError
from koco.events import datetimes, line
from koco.events.questions import LockOutcome, OpenLock
from koco.manifest.rules import LOCK_NAME
from koco.sdk.steps import previews

#: How long a lock waits for its answer if the flow sets no timeout (seconds).
TIMEOUT_S = 3 * 3600.0
#: How long a lock may wait for its answer at most (seconds): a year.
LONGEST_S = 366 * 86_400.0


class Place(NamedTuple):
    """A lock's place in its flow: its key, the id that is made of it, the number of the call."""

    key: str = ""
    lid: str = ""
    position: int = 0


def question(
    name: str,
    data: Any,
    timeout: float | None,
    *,
    place: Callable[[str, Any], Place] = lambda name, data: Place(),
) -> OpenLock:
    """Return the question that opens a lock.

    `place` takes the lock's place in the flow. Without a place, the id is random.

    Raises `UsageError` if the name or the timeout is invalid.
    """
    timeout_s = TIMEOUT_S if timeout is None else timeout
    check(name, timeout_s)
    # Encoded separately: if it cannot be encoded, only this becomes its `repr`.
    plain = msgspec.json.decode(line.encode_payload(data))
    key, lid, position = place(name, plain)
    return OpenLock(
        lid=lid or secrets.token_hex(8),
        key=key,
        position=position,
        arguments=previews.of_value(plain) if key and plain is not None else "",
        name=name,
        data=plain,
        timeout_s=float(timeout_s),
    )


def check(name: Any, timeout_s: Any) -> None:
    """Check a lock's name and timeout.

    Raises `UsageError` if one of them is invalid; the message says what is valid.
    """
    if not isinstance(name, str) or not re.fullmatch(LOCK_NAME[1:-1], name):
        raise UsageError(
            f"{name!r} cannot name a lock: letters, digits, '_', '.' and '-', at most 63"
        )
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not 0 <= timeout_s <= LONGEST_S:
        raise UsageError(
            f"a lock's timeout must be from 0 to {LONGEST_S:.0f} seconds, got {timeout_s!r}",
            hint="left out, it is three hours",
        )


def answer(lock: OpenLock, outcome: LockOutcome) -> Any:
    """Return the answer to a lock. Raises `TimeoutError` if the lock expired."""
    if outcome.status == "expired":
        raise TimeoutError(f"nobody answered the lock {lock.name!r} within {lock.timeout_s:g} s")
    return datetimes.restore(outcome.answer, outcome.moments)
