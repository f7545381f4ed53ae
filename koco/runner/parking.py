"""Take an execution that only waits out of its runner: no process, no memory, until it is woken.

It is woken elsewhere, where its flow runs again from its top. So this is only for durable ones.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from koco.errors import KocoError
from koco.events.questions import Park
from koco.events.used import Used
from koco.runner import idleness
from koco.runner.flow import Run
from koco.runner.output.lines import Output
from koco.runner.output.spool import Attempt
from koco.sdk.steps.journal import Journal

log = logging.getLogger(__name__)

#: The shortest time between two looks at an execution that could not be parked (seconds).
_AGAIN_S = 1.0


class Parking:
    """Watches one execution. Its methods belong to the loop on which it was made.

    `part` is called once the execution no longer belongs to this runner.
    """

    def __init__(
        self,
        fid: str,
        run: Run,
        journal: Journal,
        *,
        output: Output,
        sink: Attempt,
        flows: asyncio.AbstractEventLoop,
        after_s: float,
        used: Callable[[], Used],
        part: Callable[[], None],
    ) -> None:
        self._fid = fid
        self._run = run
        self._output = output
        self._journal = journal
        self._flows = flows
        self._after_s = after_s
        self._used = used
        self._sink = sink
        self._part = part
        self._home = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        #: The look that goes on just now.
        self._looking: asyncio.Task[None] | None = None
        self._is_over = False
        journal.on_idle = self._on_idle

    def end(self) -> None:
        """Stop watching, because the execution has ended here."""
        self._is_over = True
        self._journal.on_idle = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_idle(self) -> None:
        """Called in any thread. A wait that begins while a timer runs needs none of its own."""
        if self._timer is None:
            self._home.call_soon_threadsafe(self._watch)

    def _watch(self) -> None:
        self._look_in(self._journal.idle_since + self._after_s - time.monotonic())

    def _look_in(self, seconds: float) -> None:
        if self._timer is None and self._looking is None and not self._is_over:
            self._timer = self._home.call_later(max(0.0, seconds), self._look)

    def _look(self) -> None:
        self._timer = None
        if self._is_over or not self._journal.is_idle:
            return  # `_on_idle` is called when it is again
        if self._journal.idle_since + self._after_s > time.monotonic():
            self._watch()
            return
        self._looking = self._home.create_task(self._park())
        self._looking.add_done_callback(self._on_looked)

    def _on_looked(self, task: "asyncio.Task[None]") -> None:
        self._looking = None
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("could not park an execution", exc_info=exc)
        # If it was not parked: what keeps it here may end without notice.
        self._look_in(max(self._after_s, _AGAIN_S))

    async def _park(self) -> None:
        if not await self._only_waits():
            return
        question = Park(
            keys=list(self._journal.waits), locks=list(self._journal.locks), used=self._used()
        )
        with self._sink.holding_answers(self._fid):
            try:
                is_parked = await self._sink.ask_async(self._fid, question)
            except (KocoError, asyncio.CancelledError) as exc:
                log.debug("an execution stays: %s", exc)  # most likely it ends just now
                return
            if is_parked and not self._is_over:
                self._part()

    async def _only_waits(self) -> bool:
        task = self._run.task
        waiters = self._journal.waiters
        if task is None or task.done():
            return idleness.is_idle_in_thread(self._run.thread, self._output, waiters)
        done: asyncio.Future[bool] = self._home.create_future()

        def look() -> None:
            found = False
            try:
                found = idleness.is_idle(self._flows, self._output, waiters)
            finally:
                self._home.call_soon_threadsafe(done.set_result, found)

        self._flows.call_soon_threadsafe(look)
        return await done and self._journal.is_idle
