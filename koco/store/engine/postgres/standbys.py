"""Notice that changes wait for a synchronous standby, as the server lets them without limit."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from koco.errors import KocoError
from koco.store.engine import protocol

log = logging.getLogger(__name__)

#: How long no change may be committed before the reason is looked for (seconds).
_PATIENCE_S = 4.0
#: Sessions of this user that have waited for longer than a commit takes. Others' are not shown.
_WAITING = """
    SELECT current_setting('synchronous_standby_names') FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND wait_event = 'SyncRep'
        AND state_change < clock_timestamp() - interval '1 second' LIMIT 1
"""


def missed(db: protocol.Connection) -> str | None:
    """Return the setting with the standbys that changes wait for, or None if they do not."""
    row = db.execute(_WAITING).fetchone()
    return None if row is None else str(row[0])


class Watch:
    """Say in the log that changes wait for a standby, and when they no longer do.

    `look` returns what `missed` does. Call all on the loop. It looks only if changes are made, and
    none of them has been committed for a while.
    """

    def __init__(self, look: Callable[[], Awaitable[str | None]]) -> None:
        self._look = look
        self._pending = self._done = self._seen = 0
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._has_said = False

    @contextmanager
    def change(self) -> Iterator[None]:
        """Watch a change that is made in the block."""
        self._pending += 1
        if self._timer is None:
            self._arm()
        try:
            yield
        finally:
            self._pending -= 1
            self._done += 1
            if self._has_said:
                self._has_said = False
                log.warning("changes no longer wait for a synchronous standby")

    def close(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _arm(self) -> None:
        self._seen = self._done
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if not self._pending:
            return
        if self._seen == self._done and not self._has_said:
            self._looking = asyncio.ensure_future(self._say())
        self._arm()

    async def _say(self) -> None:
        try:
            names = await self._look()
        except KocoError:
            return  # the server is away: whoever makes the change hears so
        if names is not None and self._seen == self._done:
            self._has_said = True
            log.error(
                "changes wait for a synchronous standby, and none of %r follows: bring one back,"
                " or take them out of synchronous_standby_names on the server",
                names,
            )
