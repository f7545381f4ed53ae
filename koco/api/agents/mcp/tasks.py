"""Executions as tasks of the tasks extension. An execution's fid is its task's id."""

from contextlib import suppress
from typing import Any

from koco.api.agents.mcp import elicitation, outcomes, versions
from koco.api.agents.mcp.asking import Ask
from koco.api.agents.mcp.messages import RpcError
from koco.errors import ConflictError, NotFoundError
from koco.events.model import Status
from koco.store.model import Execution

#: How often a client should ask again (milliseconds).
_POLL_MS = 1000

_STATUSES = {
    Status.AWAITING: "input_required",
    Status.FINISHED: "completed",
    # A flow's error is a result of its tool; `failed` is for errors of the protocol.
    Status.ERROR: "completed",
    Status.CANCELLED: "cancelled",
}


def require(ask: Ask) -> None:
    """Refuse a client that has not said that it knows tasks.

    Raises:
        RpcError: as the extension says.
    """
    if not ask.has_tasks:
        needed: dict[str, Any] = {"extensions": {versions.TASKS: {}}}
        raise RpcError(
            versions.MISSING_CAPABILITY,
            f"the client has not declared the extension {versions.TASKS}",
            data={"requiredCapabilities": needed},
        )


def created(ask: Ask, execution: Execution) -> dict[str, Any]:
    """Return the answer to a call whose execution goes on as a task."""
    return {"resultType": "task", **_head(ask, execution)}


async def detailed(ask: Ask, execution: Execution) -> dict[str, Any]:
    """Return a task with its questions or its result."""
    task = _head(ask, execution)
    if task["status"] == "input_required":
        task["inputRequests"], others = await elicitation.requests_of(ask, execution, {})
        if others:
            how = f"`koco answer {execution.fid}` answers"
            task["statusMessage"] = f"awaits a person: {how} {', '.join(others)}"
    if task["status"] == "completed":
        task["result"] = await outcomes.of_execution(ask, execution)
    return task


def _head(ask: Ask, execution: Execution) -> dict[str, Any]:
    return {
        "taskId": execution.fid,
        "status": _STATUSES.get(execution.status, "working"),
        "statusMessage": _message(ask, execution),
        "createdAt": execution.created,
        "lastUpdatedAt": execution.finished or execution.started or execution.created,
        "ttlMs": None,
        "pollIntervalMs": _POLL_MS,
    }


def _message(ask: Ask, execution: Execution) -> str:
    progress, why = execution.progress, ask.calls.parts.supervisor.why(execution)
    if progress is not None and not execution.status.is_final:
        of = f"/{progress.total:g}" if progress.total else ""
        return " ".join(filter(None, [f"{progress.done:g}{of}", progress.message]))
    return f"{execution.status}: {why}" if why else str(execution.status)


async def get(ask: Ask) -> dict[str, Any]:
    """Answer `tasks/get`."""
    require(ask)
    return await detailed(ask, await _find(ask))


async def update(ask: Ask) -> dict[str, Any]:
    """Answer `tasks/update`: the client's person has answered questions."""
    require(ask)
    execution = await _find(ask)
    responses = ask.message.mapping("inputResponses")
    try:
        refusals = await elicitation.answer_all(ask, execution, responses)
    except ConflictError:
        return {}  # somebody else was first: the client sees it in the task
    for refused in refusals.values():
        raise RpcError(versions.INVALID_PARAMS, refused.message, data={"errors": refused.errors})
    return {}


async def cancel(ask: Ask) -> dict[str, Any]:
    """Answer `tasks/cancel`. The execution may take a while to end, or end by itself before."""
    require(ask)
    execution = await _find(ask)
    with suppress(ConflictError):  # it has ended
        await ask.calls.cancel(execution.fid)
    return {}


async def _find(ask: Ask) -> Execution:
    fid = ask.message.text("taskId")
    try:
        return await ask.calls.execution(fid)
    except NotFoundError:
        raise RpcError(versions.INVALID_PARAMS, f"there is no task {fid[:200]!r}") from None
