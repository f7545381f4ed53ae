"""An execution as a task."""

from collections.abc import Sequence
from typing import Any

from koco.api.agents.a2a.shapes import messages
from koco.api.agents.a2a.shapes.messages import Json
from koco.events.model import Status
from koco.store.model import Execution, Lock

#: The state of a task, by the status of its execution.
STATES = {
    Status.QUEUED: "TASK_STATE_SUBMITTED",
    Status.STARTING: "TASK_STATE_SUBMITTED",
    Status.RUNNING: "TASK_STATE_WORKING",
    Status.SLEEPING: "TASK_STATE_WORKING",
    Status.AWAITING: "TASK_STATE_INPUT_REQUIRED",
    Status.FINISHED: "TASK_STATE_COMPLETED",
    Status.ERROR: "TASK_STATE_FAILED",
    Status.CANCELLED: "TASK_STATE_CANCELED",
}
#: The states in which a task never is here, but which a filter may name.
NEVER = ("TASK_STATE_REJECTED", "TASK_STATE_AUTH_REQUIRED")
#: All states that a filter may name; the first one is none.
ALL = ("TASK_STATE_UNSPECIFIED", *dict.fromkeys(STATES.values()), *NEVER)


def statuses_of(state: str) -> tuple[Status, ...]:
    """Return the statuses of executions whose task has a state."""
    return tuple(status for status, each in STATES.items() if each == state)


def task(
    execution: Execution,
    *,
    message: Json | None = None,
    locks: Sequence[Lock] = (),
    artifacts: Sequence[Json] | None = None,
    history: Sequence[Json] = (),
) -> Json:
    """Return a task. `message` says more of its status; no `artifacts` leaves them out."""
    found: Json = {
        "id": execution.fid,
        "contextId": messages.context_of(execution),
        "status": status(execution.status, changed(execution, locks), message),
        "metadata": _metadata(execution),
    }
    if artifacts is not None:
        found["artifacts"] = list(artifacts)
    if history:
        found["history"] = list(history)
    return found


def status(now: Status, at: str, message: Json | None = None) -> Json:
    """Return the status of a task."""
    found: Json = {"state": STATES[now], "timestamp": timestamp(at)}
    return found | ({"message": message} if message else {})


def failure(execution: Execution) -> Json | None:
    """Return the message with the error that an execution ended with, if it did."""
    if execution.error is None:
        return None
    text = f"{execution.error.type}: {execution.error.message}"
    return messages.message(execution, "error", messages.text_part(text))


def changed(execution: Execution, locks: Sequence[Lock]) -> str:
    """Return when a task came into its status, as far as that is stored."""
    if execution.finished:
        return execution.finished
    times = [execution.created, execution.started, execution.cancel_requested]
    for lock in locks:
        times += [lock.created, lock.settled]
    return max(filter(None, times))


def timestamp(at: str) -> str:
    """Return a time (RFC 3339, UTC) in milliseconds, as the specification has it."""
    seconds, _, fraction = at.rstrip("Z").partition(".")
    return f"{seconds}.{fraction[:3].ljust(3, '0')}Z"


def _metadata(execution: Execution) -> dict[str, Any]:
    found: dict[str, Any] = {"flow": execution.flow, "release": execution.release}
    if (progress := execution.progress) is not None:
        found["progress"] = {
            name: value
            for name in ("done", "total", "message")
            if (value := getattr(progress, name)) is not None
        }
    return found
