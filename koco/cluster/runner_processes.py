"""Find the processes of a runner and of the Ray tasks that it has started."""

import asyncio
from dataclasses import dataclass
from typing import Any

import ray

from koco.cluster.dashboard import Dashboard, ServeError
from koco.errors import UnreachableError

#: Time limit for the list of tasks (seconds).
_LIST_S = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A process: its node's id and its process id there."""

    node: str
    pid: int


async def place_of(handle: Any) -> Place:
    """Return the place of an actor's process. Asks Ray, so the process need not respond."""
    return await asyncio.to_thread(_place_of, handle)


def _place_of(handle: Any) -> Place:
    actor = ray._private.state.actors(handle._ray_actor_id.hex())
    return Place((actor.get("Address") or {}).get("NodeID", ""), int(actor.get("Pid") or 0))


async def tasks_of(handle: Any, *, most: int) -> list[tuple[str, Place]]:
    """Return up to `most` running Ray tasks and calls that an actor started, directly or not.

    Each comes with a description. koco's own tasks are left out.

    Raises:
        UnreachableError: Ray's dashboard, which has the list, does not answer.
    """
    # Not by `ray.util.state`, which looks for a cluster on this machine, and fails if it finds two.
    dashboard = Dashboard()
    try:
        async with asyncio.timeout(_LIST_S):
            running = await dashboard.listed("tasks", [("state", "=", "RUNNING")])
    except TimeoutError as exc:
        raise UnreachableError(f"Ray's dashboard lists no tasks within {_LIST_S} s") from exc
    except ServeError as exc:
        raise UnreachableError(f"Ray's dashboard did not list its tasks: {exc}") from exc
    finally:
        await dashboard.close()
    return _below(handle._ray_actor_id.hex(), running, most)


def _below(actor_id: str, running: list[dict[str, Any]], most: int) -> list[tuple[str, Place]]:
    # The parent of a task that an actor starts is a task whose id ends with the actor's id.
    below: dict[str, list[dict[str, Any]]] = {}
    for task in running:
        below.setdefault(str(task["parent_task_id"]), []).append(task)
    found: list[dict[str, Any]] = []
    ahead = [each for parent, tasks in below.items() if parent.endswith(actor_id) for each in tasks]
    while ahead and len(found) < most:
        task = ahead.pop(0)
        if not str(task["name"]).startswith("koco:"):
            found.append(task)
        ahead += below.get(str(task["task_id"]), [])
    return [
        (f"Ray task {task['name']}", Place(str(task["node_id"]), int(task["worker_pid"])))
        for task in found
        if task["worker_pid"] and task["node_id"]
    ]
