"""Moves executions away from a release that cannot run them, to the live one, or ends them.

Only executions that have never begun move, because none of their release's code has run. They move
if the live release has their flow and accepts their inputs. Each move is one commit, and its
reason is found again after a restart, so the control plane may die in the middle.

An execution that has begun, and waits to resume or for its next attempt, neither moves nor ends:
it waits until a runner of its release starts.
"""

import logging
from collections import defaultdict
from typing import Any

import msgspec

from koco.control.executions.supervisor import Supervisor
from koco.control.runners.losses import Loss, Losses
from koco.control.runners.pool import Pool
from koco.control.services.catalog import Catalog, Entry
from koco.control.tasks import Tasks, surely
from koco.errors import InputsError, KocoError
from koco.events.line import encode_payload
from koco.store.model import Execution, FailureEvent, Release
from koco.store.store import Store

log = logging.getLogger(__name__)

#: After this many failed starts of its runners, executions that wait for a replaced release end.
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
        self._losses: defaultdict[str, Losses] = defaultdict(Losses)

    def after(self, live: Release) -> None:
        """Move executions to this release from releases that it has replaced and that do not work.

        A rollback implies that the replaced release does not work. Any other release takes over
        only from releases without a runner. Executions that the live release cannot run stay.
        """
        goes_back = live.origin.rollback_of is not None
        for (service, number), pool in list(self._supervisor.pools.items()):
            is_former = service == live.service and number != live.number
            if is_former and (goes_back or not pool.runners):
                self._tasks.spawn(self._move(service, number, pool, ends=False))

    def lost(self, release: Release, pool: Pool, loss: Loss) -> None:
        """Record that a runner of a release died or did not start.

        If the release is retired, its waiting executions move, or end after repeated failures.
        """
        if pool.is_live:
            return
        losses = self._losses[pool.name]
        losses.add(loss)
        ends = losses.count >= _STARTS and not pool.runners
        self._tasks.spawn(self._move(release.service, release.number, pool, ends=ends))

    async def _move(self, service: str, number: int, pool: Pool, *, ends: bool) -> None:
        moved = 0
        for execution in pool.line.waiting():
            # Remove it from the line first, so that no runner gets it while it moves.
            pool.line.remove(execution.fid)
            try:
                moved += await self._rebind(execution, number)
            except _RefusedError as exc:
                if ends and not _has_begun(execution):
                    await self._supervisor.give_up(execution, _never_ran(pool, exc.message))
                else:
                    pool.submit(execution)
        if moved:
            log.info("moved %d executions from release %s/%d", moved, service, number)

    async def _rebind(self, execution: Execution, number: int) -> bool:
        """Move an execution. Return False if it has ended or been cancelled meanwhile.

        Raises:
            _RefusedError: The execution cannot move.
        """
        if _has_begun(execution):
            raise _RefusedError("it has begun there, and another release must not continue it")
        if execution.resume_of is not None:
            raise _RefusedError(
                f"it resumes {execution.resume_of}, and must do so in the release it was asked for"
            )
        entry = self._entry(execution)
        inputs = await _validate_inputs(entry, execution)
        moved = await surely(
            lambda: self._store.executions.rebind(
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
            raise _RefusedError(f"no release of {execution.service} serves") from exc
        found = [each for each in self._catalog.entries() if each.name == execution.flow]
        if not found or found[0].release == execution.release:
            flow = execution.flow.partition("/")[2]
            raise _RefusedError(f"the live release {live.number} has no flow {flow!r}")
        return found[0]


def _has_begun(execution: Execution) -> bool:
    return execution.started is not None or execution.attempt > 1


async def _validate_inputs(entry: Entry, execution: Execution) -> dict[str, Any]:
    """Return an execution's inputs, validated by the live release; see `Launches.retry`."""
    if entry.form is None or entry.path is not None:
        return execution.inputs
    try:
        inputs = await entry.form.validate_async(execution.inputs)
    except InputsError as exc:
        text = "; ".join(exc.message.splitlines())
        message = f"the live release {entry.release} does not accept its inputs: {text}"
        raise _RefusedError(message) from exc
    decoded: dict[str, Any] = msgspec.json.decode(encode_payload(inputs))
    return decoded


def _never_ran(pool: Pool, why: str) -> FailureEvent:
    message = f"release {pool.name} never ran this execution: {pool.why}; {why}"
    return FailureEvent(type="ReleaseFailed", message=message)
