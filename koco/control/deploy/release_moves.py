"""Executions that wait for a release that cannot run them: moved to the live one, or ended.

Only what has never begun moves: nothing of its release's code has run. It moves to what is
live, if that has its flow and accepts its inputs. Each move is one commit, and what makes it
necessary is seen again after a restart, so a control plane may die in the middle.
"""

import logging
from typing import Any

import msgspec

from koco.control.executions.supervisor import Supervisor
from koco.control.runners.pool import Pool
from koco.control.services.catalog import Catalog, Entry
from koco.control.tasks import Tasks, surely
from koco.errors import InputsError, KocoError
from koco.events.line import encode_payload
from koco.store.model import Execution, Release
from koco.store.protocol import Store

log = logging.getLogger(__name__)

#: How often runners of a replaced release may fail to start before what waits for it ends.
_STARTS = 2


class _RefusedError(KocoError):
    """Why an execution cannot move: the live release has no place for it."""


class Moves:
    """Moves executions from release to release."""

    def __init__(self, store: Store, supervisor: Supervisor, catalog: Catalog) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._tasks = Tasks("the moves")
        self._losses: dict[str, int] = {}

    def after(self, live: Release) -> None:
        """Move what waits for releases that this one has replaced, if they do not work.

        A rollback says that of what it replaces. Any other release takes over from those that
        have no runner. Executions that the live one cannot run stay where they are.
        """
        goes_back = bool(live.origin.get("rollback_of"))
        for (service, number), pool in list(self._supervisor.pools.items()):
            is_former = service == live.service and number != live.number
            if is_former and (goes_back or not pool.runners):
                self._tasks.spawn(self._move(service, number, pool, ends=False))

    def lost(self, release: Release, pool: Pool) -> None:
        """Hear that a runner of a release died or did not start: one that is retired gives up."""
        if pool.is_live:
            return
        losses = self._losses[pool.name] = self._losses.get(pool.name, 0) + 1
        ends = losses >= _STARTS and not pool.runners
        self._tasks.spawn(self._move(release.service, release.number, pool, ends=ends))

    async def _move(self, service: str, number: int, pool: Pool, *, ends: bool) -> None:
        moved = 0
        for execution in pool.line.waiting():
            # Out of the line first: no runner must be given what is on its way elsewhere.
            pool.line.remove(execution.fid)
            try:
                moved += await self._rebind(execution, number)
            except _RefusedError as exc:
                if ends:
                    await self._supervisor.give_up(execution, _never_ran(pool, exc.message))
                else:
                    pool.submit(execution)
        if moved:
            log.info("moved %d executions from release %s/%d", moved, service, number)

    async def _rebind(self, execution: Execution, number: int) -> bool:
        """Move an execution; False where it has ended or been cancelled meanwhile.

        Raises:
            _RefusedError: it cannot move.
        """
        if execution.started is not None or execution.attempt > 1:
            raise _RefusedError("another one must not go on with what has begun there")
        entry = self._entry(execution)
        inputs = await _accepted(entry, execution)
        moved = await surely(
            lambda: self._store.rebind(
                execution.fid,
                former=number,
                release=entry.release,
                inputs=inputs,
                hidden=tuple(
                    dict.fromkeys((*execution.hidden, *(entry.form.hidden if entry.form else ())))
                ),
            )
        )
        if moved is None:
            return False
        await self._supervisor.hand_over(moved)
        return True

    def _entry(self, execution: Execution) -> Entry:
        try:
            live = self._catalog.release(execution.service)
        except KocoError as exc:
            raise _RefusedError(f"nothing of {execution.service} serves any more") from exc
        found = [each for each in self._catalog.entries() if each.name == execution.flow]
        if not found or found[0].release == execution.release:
            flow = execution.flow.partition("/")[2]
            raise _RefusedError(f"the live release {live.number} has no flow {flow!r}")
        return found[0]


async def _accepted(entry: Entry, execution: Execution) -> dict[str, Any]:
    """Return an execution's inputs as the live release has them; see `Launches.retry`."""
    if entry.form is None or entry.path is not None:
        return execution.inputs
    try:
        inputs = await entry.form.validate_async(execution.inputs)
    except InputsError as exc:
        said = "; ".join(exc.message.splitlines())
        message = f"the live release {entry.release} does not accept its inputs: {said}"
        raise _RefusedError(message) from exc
    decoded: dict[str, Any] = msgspec.json.decode(encode_payload(inputs))
    return decoded


def _never_ran(pool: Pool, why: str) -> dict[str, Any]:
    message = f"release {pool.name} never ran this execution: {pool.why}; {why}"
    return {"type": "ReleaseFailed", "message": message, "traceback": ""}
