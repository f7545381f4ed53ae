"""Clean up after a runner: make sure that its process has ended, and settle its executions."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from koco.control.runners.start_backoff import LIVED_S
from koco.control.runners.worker import Remains, Runner
from koco.control.tasks import Tasks, surely
from koco.events.model import Status
from koco.sdk.process import memory
from koco.sdk.process.crash import End
from koco.store.model import Execution, FailureEvent
from koco.store.store import Store

log = logging.getLogger(__name__)

#: After this many runners died before they could begin an execution, it ends with the cause.
_TRIES = 3
#: How long settling waits for a process to be ended and its data to be collected (seconds).
_BURIAL_S = 8.0


def died(cause: str, end: End | None = None, *, tries: int = 0) -> FailureEvent:
    """Return the `error` payload of an execution whose runner died.

    `tries` is how many runners died before they could begin it; 0 if it had begun.
    """
    if cause.startswith(memory.CAUSE):
        return FailureEvent(type=memory.TYPE, message=cause.removeprefix(memory.CAUSE))
    text = "the runner ended while it ran this execution"
    if tries:
        text = f"{tries} runners ended, one after the other, before they could begin this execution"
    traceback = end.traceback if end else ""
    return FailureEvent(type="RunnerDied", message=f"{text}: {cause}", traceback=traceback)


def is_young(runner: Runner) -> bool:
    """Return whether a runner's life was so short that its release may be the cause of its end."""
    return time.monotonic() - runner.since < LIVED_S


class Recovery:
    """Settles the executions of one pool's dead runners.

    `put_back` is called with each execution that must run in another runner.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        tasks: Tasks,
        *,
        remains: Remains | None,
        put_back: Callable[[Execution], None],
        on_final: Callable[[str], None],
    ) -> None:
        self._name = name
        self._store = store
        self._tasks = tasks
        self._remains = remains
        self._put_back = put_back
        self._on_final = on_final
        #: By fid: how many runners died that had been given the execution and not begun it.
        self._deaths: Counter[str] = Counter()

    def forget(self, fid: str) -> None:
        """Forget an execution's count of deaths. Called when it has ended."""
        self._deaths.pop(fid, None)

    async def bury(self, runner: Runner) -> End | None:
        """End a runner's process for certain, and deliver the data that it left on its node.

        Returns how the process ended, if known. If this takes too long, it goes on in the
        background, because settling must not wait for a node that does not answer.
        """
        burial = self._tasks.spawn(self._buried(runner))
        try:
            return await asyncio.wait_for(asyncio.shield(burial), _BURIAL_S)
        except TimeoutError:
            log.warning("runner %s of %s may still be there", runner.id, self._name)
        except Exception:
            log.exception(
                "the remains of runner %s of %s were not collected", runner.id, self._name
            )
        return None

    async def _buried(self, runner: Runner) -> End | None:
        if not await runner.actor.kill():
            log.warning("the end of runner %s's process was not confirmed", runner.id)
        return await self._remains(runner.id, runner.actor.node) if self._remains else None

    async def settle(self, fid: str, runner: Runner, cause: str, end: End | None) -> None:
        """Settle an execution whose runner died: end it, or run it elsewhere if it never began."""
        if assigning := runner.assigning.get(fid):
            await assigning.wait()  # until then the store does not know that this runner had it
        if await surely(lambda: self._store.executions.requeue(fid, runner.id)):
            # It never reached `running`, so no user code has run.
            await self._retry(fid, cause, end, is_counted=is_young(runner))
        elif await self._lose(fid, runner, cause, end):
            runner.has_begun = True
            self._on_final(fid)
        # Otherwise it, or its attempt, ended at this very moment.

    async def _lose(self, fid: str, runner: Runner, cause: str, end: End | None) -> bool:
        error, why = died(cause, end), cause.removeprefix(memory.CAUSE)
        return await surely(lambda: self._store.executions.lose(fid, runner.id, error, because=why))

    async def _retry(self, fid: str, cause: str, end: End | None, *, is_counted: bool) -> None:
        self._deaths[fid] += is_counted
        if (tries := self._deaths[fid]) < _TRIES:
            self._put_back(await surely(lambda: self._store.executions.get(fid)))
            return
        error = died(cause, end, tries=tries)
        if await surely(lambda: self._store.executions.settle(fid, Status.ERROR, error)):
            self._on_final(fid)

    async def take_back(self, fid: str, runner: Runner) -> None:
        """Take an execution from a living runner that has not begun it, and run it elsewhere."""
        if not await surely(lambda: self._store.executions.requeue(fid, runner.id)):
            return  # it has begun after all, or has ended
        self._put_back(await surely(lambda: self._store.executions.get(fid)))
