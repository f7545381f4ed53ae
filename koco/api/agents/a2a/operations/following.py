"""Follow a task: the task as it is, and then its updates as they are committed."""

from collections.abc import AsyncGenerator

from koco.api.agents.a2a.faults import UNSUPPORTED, A2AError
from koco.api.agents.a2a.operations.agent import Agent
from koco.api.agents.a2a.reading.requests import ById
from koco.api.agents.a2a.shapes.artifacts import EVERY, RESULTS, Modes
from koco.api.agents.a2a.shapes.messages import Json
from koco.api.agents.a2a.shapes.updates import KINDS, Updates
from koco.events.model import Status
from koco.store.model import Execution


async def subscribe(agent: Agent, asked: ById) -> AsyncGenerator[Json | None]:
    """Yield a task that has not ended, and its updates until it has."""
    execution = await agent.task(asked.id)
    if execution.status.is_final:
        raise A2AError(
            UNSUPPORTED,
            f"the task {execution.fid} has ended: it is {execution.status}",
            hint="GetTask shows it",
        )
    async for each in updates(agent, execution):
        yield each


async def updates(
    agent: Agent,
    execution: Execution,
    *,
    modes: Modes = EVERY,
    history_length: int | None = None,
    until_asked: bool = False,
) -> AsyncGenerator[Json | None]:
    """Yield a task, and its updates until it is over; None is a heartbeat.

    With `until_asked`, they end as well when the task asks for something.
    """
    task = await agent.view.show(execution, history_length=history_length, modes=modes)
    yield {"task": task}
    is_asking = execution.status is Status.AWAITING and "message" in task["status"]
    if execution.status.is_final or (until_asked and is_asking):
        return
    has_results = any(each["artifactId"] == RESULTS for each in task["artifacts"])
    found = Updates(execution, url=agent.url, modes=modes, has_results=has_results)
    async for events in agent.calls.batches(execution, after=execution.last_seq, kinds=KINDS):
        if not events:
            yield None
        for each in found.of(events):
            yield each
        if asks := found.asks:
            message = await agent.view.message(await agent.calls.execution(execution.fid))
            yield found.status(asks, message)
            if until_asked and message is not None:
                return
