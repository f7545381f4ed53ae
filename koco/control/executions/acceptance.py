"""Accepts launches in whichever process they arrive; the leader gives them to runners."""

import msgspec

from koco.control.events.spooler import Spooler
from koco.control.executions.supervisor import Supervisor
from koco.control.leadership import Leadership
from koco.control.runners.concurrency import durable_flows, policy_of
from koco.control.services.catalog import Catalog
from koco.store.model import Execution, NewExecution
from koco.store.store import Store


class Acceptance:
    """The supervisor's `launch` in one of several processes of a control plane."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        catalog: Catalog,
        *,
        spooler: Spooler,
        leadership: Leadership,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._spooler = spooler
        self._leadership = leadership

    async def launch(self, new: NewExecution) -> Execution:
        """Commit an execution as queued. The leader hears of it from the store.

        Raises:
            OnlyLeaderError: only the leader can accept it, for it counts what waits. Nothing is
                written.
            Others: see `Supervisor.launch`.
        """
        if self._leadership.leads:
            return await self._supervisor.launch(new)
        release = self._catalog.release(new.service)
        if release.number != new.release:
            self._leadership.require("it alone runs earlier releases")
        if new.files:
            self._leadership.require("it alone removes uploads that nothing uses")
        limits = self._supervisor.limits(release, new.flow.partition("/")[2])
        if self._supervisor.load.is_bounded(limits):
            self._leadership.require("it alone counts what waits in the queue")
        policy = policy_of(limits, durable=new.flow in durable_flows(release))
        new = msgspec.structs.replace(new, policy=policy)
        execution, is_new = await self._store.executions.create(new)
        if is_new:
            self._supervisor.launched += 1
            self._spooler.wake(execution.fid)
            if self._leadership.leads:
                # This process has come to lead meanwhile, so it has told nobody, and may have
                # looked at what waits before this was committed.
                self._supervisor.wake(execution.fid)
        return execution
