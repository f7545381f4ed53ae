"""The agent that a request is for: one flow, or all flows that the caller may launch."""

from functools import cached_property
from typing import Any

from koco.api.agents.a2a.faults import no_task, violated
from koco.api.agents.a2a.operations.view import View
from koco.api.agents.a2a.shapes import cards
from koco.api.agents.calls import Calls
from koco.api.http.request import Request
from koco.control.services.catalog import Entry
from koco.errors import NotFoundError
from koco.store.model import Execution

PROTOCOL = "a2a"


class Agent:
    """An agent, for one request and with its caller's rights."""

    def __init__(self, request: Request, name: str | None = None) -> None:
        """Find the agent of a flow, by its full name, or that of all flows.

        Raises:
            NotFoundError: there is no such flow, or it is not the caller's.
        """
        self.request = request
        self.calls = Calls(request)
        self.parts = request.parts
        self.entry: Entry | None = None if name is None else self.calls.flow(name, PROTOCOL)
        self.url = self.calls.url("")
        #: Shows executions as tasks.
        self.view = View(self.parts, self.url, user=request.auth.name)

    @cached_property
    def flows(self) -> dict[str, Entry]:
        """The agent's flows, by their full names, as they were at its first use."""
        found = self.calls.flows(PROTOCOL) if self.entry is None else [self.entry]
        return {each.name: each for each in found}

    def flow_of(self, metadata: dict[str, Any]) -> Entry:
        """Return the flow that a message is for: the agent's own, or the one that it names.

        Raises:
            A2AError: it names none, or one that there is not.
        """
        if self.entry is not None:
            return self.entry
        field, name = f"message.metadata.{cards.FLOW}", metadata.get(cards.FLOW)
        names = ", ".join([*self.flows][:20])
        hint = f"one of: {names}" if names else "this key may launch none"
        if not isinstance(name, str):
            raise violated(field, "must name the flow, as the skill's id does", hint=hint)
        if name not in self.flows:
            raise violated(field, f"there is no flow {name[:80]!r}", hint=hint)
        return self.flows[name]

    async def task(self, fid: str) -> Execution:
        """Return the execution that a task is.

        Raises:
            A2AError: there is none, or it is another agent's.
        """
        try:
            found = await self.calls.execution(fid)
        except NotFoundError:
            raise no_task(fid) from None
        if not self.has(found):
            raise no_task(fid)
        return found

    def has(self, execution: Execution) -> bool:
        """Whether an execution is a task of this agent."""
        return execution.flow in self.flows
