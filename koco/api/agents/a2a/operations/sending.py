"""Send a message: begin a task, or answer what a task asks for."""

import secrets
from collections.abc import AsyncGenerator
from typing import Any

from koco.api.agents.a2a.faults import UNSUPPORTED, A2AError, violated
from koco.api.agents.a2a.operations import following, pushes
from koco.api.agents.a2a.operations.agent import Agent
from koco.api.agents.a2a.reading import part_values
from koco.api.agents.a2a.reading.requests import Message, SendMessage
from koco.api.agents.a2a.shapes.artifacts import Modes
from koco.api.agents.a2a.shapes.messages import CONTEXT, Json, context_of
from koco.errors import ConflictError
from koco.events.model import Status
from koco.store.model import Execution, Lock

#: The member of a message's metadata that names the lock which it answers.
LOCK = "lock"
#: The longest that a message's sender waits for its answer (seconds).
_PATIENCE_S = 86_400.0
#: The longest id of a context (characters).
_LONGEST = 200


async def send(agent: Agent, asked: SendMessage) -> Json:
    """Return the task once it is over or asks for something, or at once if that is wished.

    If the client disconnects, the task goes on.
    """
    wish = asked.configuration
    if wish.return_immediately:
        execution = await receive(agent, asked)
    else:
        # Counted before the launch, because a refused request must not launch anything.
        with agent.request.asker.waiting():
            execution = await receive(agent, asked)
            execution = await agent.calls.wait(execution, seconds=_PATIENCE_S)
    modes = Modes(wish.accepted_output_modes)
    return {
        "task": await agent.view.show(execution, history_length=wish.history_length, modes=modes)
    }


async def send_streaming(agent: Agent, asked: SendMessage) -> AsyncGenerator[Json | None]:
    """Yield the task, and its updates until it is over or asks for something."""
    with agent.calls.waiting():
        execution = await receive(agent, asked)
    modes = Modes(asked.configuration.accepted_output_modes)
    length = asked.configuration.history_length
    async for each in following.updates(
        agent, execution, modes=modes, history_length=length, until_asked=True
    ):
        yield each


async def receive(agent: Agent, asked: SendMessage) -> Execution:
    """Return the execution that a message has launched or answered.

    The message's id is the launch's idempotency key: a message that is sent again finds its task.
    """
    message = asked.message
    if message.task_id:
        return await _answer(agent, asked)
    agent.calls.require_launch("launch")
    entry = agent.flow_of({**asked.metadata, **message.metadata})
    context = _context(message)
    values = await part_values.inputs(
        message.parts, entry.form, agent.calls.upload, most_values=_most_values(agent)
    )
    push = asked.configuration.task_push_notification_config
    execution, _ = await agent.calls.launch(
        entry,
        values,
        key=message.message_id,
        tags=(f"{CONTEXT}{context}",),
        webhooks=() if push is None else (await pushes.make(agent, push),),
    )
    return execution


async def _answer(agent: Agent, asked: SendMessage) -> Execution:
    message = asked.message
    agent.calls.require_launch("answer_lock", message.task_id)
    execution = await agent.task(message.task_id)
    if message.context_id and message.context_id != context_of(execution):
        raise violated("message.contextId", f"the task's is {context_of(execution)!r}")
    if execution.status.is_final:
        raise A2AError(
            UNSUPPORTED,
            f"the task {execution.fid} has ended: it is {execution.status}",
            hint="a message without a task's id begins a new one",
        )
    lock = await _lock(agent, execution, {**asked.metadata, **message.metadata})
    form = await agent.calls.form(lock)
    value = part_values.answer(message.parts, form, most_values=_most_values(agent))
    if (push := asked.configuration.task_push_notification_config) is not None:
        await pushes.add(agent, execution, push)
    try:
        await agent.calls.answer(execution.fid, lock.lid, value)
    except ConflictError as exc:
        raise A2AError(UNSUPPORTED, exc.message, hint=exc.hint) from exc
    return await agent.calls.execution(execution.fid)


def _most_values(agent: Agent) -> int:
    return agent.calls.parts.settings.max_body_values


async def _lock(agent: Agent, execution: Execution, metadata: dict[str, Any]) -> Lock:
    """Return the open lock that a message answers: the one that it names, or the only one."""
    locks = await agent.calls.locks(execution)
    if not locks:
        is_awaiting = execution.status is Status.AWAITING
        status = "being answered" if is_awaiting else execution.status
        raise A2AError(
            UNSUPPORTED,
            f"the task {execution.fid} asks for nothing: it is {status}",
            hint="a message without a task's id begins a new one",
        )
    wanted = metadata.get(LOCK)
    fitting = [each for each in locks if wanted in (None, each.lid, each.name)]
    if len(fitting) != 1:
        names = ", ".join(f"{each.lid} ({each.name})" for each in locks[:20])
        why = "must name one of the open locks" if wanted is None else "names no single open lock"
        raise violated(f"message.metadata.{LOCK}", why, hint=f"one of: {names}")
    return fitting[0]


def _context(message: Message) -> str:
    """Return the id of a new task's context: the message's, or a new one."""
    found = message.context_id or secrets.token_hex(16)
    if len(found) > _LONGEST or not (found.isascii() and found.isprintable()):
        raise violated("message.contextId", f"must have at most {_LONGEST} printable characters")
    return found
