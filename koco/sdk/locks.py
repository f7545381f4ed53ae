"""What a flow asks a person: the question as it travels, and what its end means."""

import asyncio
import logging
import re
import secrets
from collections.abc import Coroutine
from typing import Any

import msgspec

from koco.errors import UsageError
from koco.events import line
from koco.manifest.rules import LOCK_NAME
from koco.sdk import moments

log = logging.getLogger(__name__)

#: What is told at this moment: a loop holds its tasks weakly.
_telling: set[asyncio.Task[Any]] = set()
#: How long a lock waits for its answer where the flow says nothing (seconds).
TIMEOUT_S = 3 * 3600.0
#: How long a lock may wait for its answer at most (seconds): a year.
LONGEST_S = 366 * 86_400.0


def question(name: str, data: Any, timeout: float | None) -> dict[str, Any]:
    """Return what the control plane is asked; its `lid` makes the question safe to repeat.

    Raises:
        UsageError: the name or the timeout makes no sense.
    """
    timeout_s = TIMEOUT_S if timeout is None else timeout
    check(name, timeout_s)
    return {
        "lid": secrets.token_hex(8),
        "name": name,
        # Alone: what cannot be encoded becomes its `repr`, and nothing else with it.
        "data": msgspec.json.decode(line.encode_payload(data)),
        "timeout_s": float(timeout_s),
    }


def check(name: Any, timeout_s: Any) -> None:
    """Refuse a name or a timeout that makes no sense.

    Raises:
        UsageError: it says what would.
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


def tell(asking: Coroutine[Any, Any, Any]) -> None:
    """Ask something without waiting for the answer."""
    task = asyncio.get_running_loop().create_task(asking)
    _telling.add(task)
    task.add_done_callback(_told)


def _told(task: asyncio.Task[Any]) -> None:
    _telling.discard(task)
    if not task.cancelled() and (exc := task.exception()) is not None:
        # Its execution has ended, most likely, and has withdrawn the lock itself.
        log.debug("a lock could not be withdrawn: %s", exc)


def answer(asked: dict[str, Any], outcome: dict[str, Any]) -> Any:
    """Return the answer that a lock got.

    Raises:
        TimeoutError: it expired.
    """
    if outcome["status"] == "expired":
        waited = f"{asked['timeout_s']:g} s"
        raise TimeoutError(f"nobody answered the lock {asked['name']!r} within {waited}")
    return moments.restore(outcome["answer"], outcome["moments"])
