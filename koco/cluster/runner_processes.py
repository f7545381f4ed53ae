"""Where a runner's process is, and those of the Ray tasks that it has started."""

import asyncio
from dataclasses import dataclass
from typing import Any

import ray

from koco.errors import UnreachableError

#: How long the list of tasks may take (seconds).
_LIST_S = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A process: its node and its number there."""

    node: str
    pid: int


async def place_of(handle: Any) -> Place:
    """Return where an actor's process is, as Ray knows it, whatever the process does."""
    return await asyncio.to_thread(_place_of, handle)


def _place_of(handle: Any) -> Place:
    actor = ray._private.state.actors(handle._ray_actor_id.hex())
    return Place((actor.get("Address") or {}).get("NodeID", ""), int(actor.get("Pid") or 0))


async def tasks_of(handle: Any, *, most: int) -> list[tuple[str, Place]]:
    """Return the running Ray tasks and calls that an actor has started, and they in turn.

    Raises:
        UnreachableError: Ray's dashboard, which knows them, does not say.
    """
    return await asyncio.to_thread(_tasks_of, handle, most)


def _tasks_of(handle: Any, most: int) -> list[tuple[str, Place]]:
    from ray.util.state import list_tasks
    from ray.util.state.exception import RayStateApiException

    try:
        running = list_tasks(
            filters=[("state", "=", "RUNNING")],
            limit=10_000,
            timeout=_LIST_S,
            raise_on_missing_output=False,
        )
    except (RayStateApiException, OSError) as exc:
        raise UnreachableError(f"Ray's dashboard does not say which tasks run: {exc}") from exc
    # The number of a task that an actor has started ends with the actor's own.
    actor_id = handle._ray_actor_id.hex()
    below: dict[str, list[Any]] = {}
    for task in running:
        below.setdefault(str(task.parent_task_id), []).append(task)
    found: list[Any] = []
    ahead = [each for parent, tasks in below.items() if parent.endswith(actor_id) for each in tasks]
    while ahead and len(found) < most:
        task = ahead.pop(0)
        if not str(task.name).startswith("koco:"):
            found.append(task)
        ahead += below.get(str(task.task_id), [])
    return [
        (f"Ray task {task.name}", Place(str(task.node_id), int(task.worker_pid)))
        for task in found
        if task.worker_pid and task.node_id
    ]
