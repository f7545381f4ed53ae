"""End executions that run longer than their timeout.

The deadlines are in the store, so they outlive this process. An execution's deadline is
committed when it begins to run, and again when it resumes after waiting for a person.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from koco.control import clock
from koco.control.events.spooler import Spooler
from koco.control.tasks import RETRY_S, Tasks
from koco.errors import KocoError
from koco.store.model import Execution
from koco.store.store import Store

log = logging.getLogger(__name__)


class Deadlines:
    """Watches executions that have a timeout, and calls `end` with the fid of each overdue one."""

    def __init__(self, store: Store, spooler: Spooler, *, end: Callable[[str], None]) -> None:
        self._store = store
        self._spooler = spooler
        self._end = end
        self._stir = asyncio.Event()
        self._tasks = Tasks("the deadlines")
        self._task: asyncio.Task[None] | None = None

    def watch(self, execution: Execution) -> None:
        """Watch an execution, if it has a timeout. It need not run yet."""
        if execution.policy.timeout_s is None:
            return
        self._spooler.watch(execution.fid, self._stir)
        self._stir.set()
        if self._task is None:
            self._task = self._tasks.keep(self._run)

    def forget(self, fid: str) -> None:
        """Stop watching an execution. Called when it has ended."""
        self._spooler.unwatch(fid, self._stir)

    async def _run(self) -> None:
        while True:
            due = await self._store.executions.next_deadline()
            if due is None or due > time.time():
                await clock.stirred(self._stir, due)
                continue
            try:
                late = await self._store.executions.time_out(time.time())
            except KocoError:
                log.exception("executions past their timeout could not be ended yet")
                await asyncio.sleep(RETRY_S)
                continue
            for fid in late:
                log.info("an execution has reached its timeout", extra={"fid": fid})
                self._end(fid)
