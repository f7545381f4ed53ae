"""The times of further attempts, when a control plane does not answer."""

import time
from collections.abc import Callable

from koco.errors import UnreachableError

#: The wait after which the user is told about it (seconds).
_QUIET_S = 1.0

#: The pause between attempts (seconds): it doubles from the first value up to the second.
_BACKOFF_S = (0.1, 0.8)


class Attempts:
    """The times of further attempts: soon, then less often, until patience ends."""

    def __init__(
        self, patience_s: float, *, on_wait: Callable[[float], object] | None = None
    ) -> None:
        self._patience_s = patience_s
        self._on_wait = on_wait
        self.reset()

    def reset(self, began: float | None = None) -> None:
        """Start over because there was contact, at a time (monotonic seconds) or now."""
        self._began = time.monotonic() if began is None else began
        self._next_s = _BACKOFF_S[0]

    def pause(self, exc: UnreachableError, *, patience_s: float | None = None) -> None:
        """Wait until the next attempt, or raise `exc` if the patience is used up."""
        patience_s = self._patience_s if patience_s is None else patience_s
        now = time.monotonic()
        if now + self._next_s > self._began + patience_s:
            raise exc
        if self._on_wait is not None and now + self._next_s > self._began + _QUIET_S:
            self._on_wait(self._began + patience_s - now)
            self._on_wait = None
        time.sleep(self._next_s)
        self._next_s = min(2 * self._next_s, _BACKOFF_S[1])
