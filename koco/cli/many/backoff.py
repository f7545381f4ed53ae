"""Wait while the control plane takes no more launches."""

import time
from collections.abc import Callable
from typing import TypeVar

from koco.errors import TooManyError

T = TypeVar("T")

#: The pauses between attempts (seconds): they grow from the first to the last.
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)


def when_there_is_room(
    ask: Callable[[], T],
    *,
    on_wait: Callable[[TooManyError], object],
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Return what `ask` returns, and repeat it for as long as it raises `TooManyError`.

    `on_wait` is told once, before the first pause. There is no limit: somebody else's executions
    may take hours.
    """
    tries = 0
    while True:
        try:
            return ask()
        except TooManyError as exc:
            if tries == 0:
                on_wait(exc)
            sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
            tries += 1
