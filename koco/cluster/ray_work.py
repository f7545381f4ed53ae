"""The Ray tasks and actors of executions: what started them, and their processes.

The data comes from Ray's state API, which is about a second behind. It is queried only on request,
never in the background.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from koco.cluster import actor_names, node_processes
from koco.cluster.dashboard import Dashboard
from koco.runner.process.identity import environment, identify

#: The maximum length of a chain of ancestors, to limit the queries for ended tasks.
_ANCESTORS = 200

#: The id of the task that creates an actor is this prefix and the actor's id (`TaskID` in Ray's
#: C++).
_CREATION = "f" * 16

#: The namespace of Serve's actors. They are left out because a replica is never a left-over.
_SERVE = "serve"

#: Filters for tasks that have not ended, and for tasks that Ray reports as dead though they may
#: still run. Ray marks all tasks of a job as failed 15 seconds after its driver has exited
#: (`gcs_mark_task_failed_on_job_done_delay_ms`), and the tasks that runners start belong to the job
#: of `koco up`.
_AT_WORK = [("state", "!=", "FINISHED"), ("state", "!=", "FAILED")]
_CALLED_DEAD = [("error_type", "=", "WORKER_DIED"), ("type", "=", "NORMAL_TASK")]


class Task(msgspec.Struct, frozen=True):
    """A task as Ray's state API reports it. A call of an actor's method is a task, too."""

    task_id: str
    name: str
    type: str
    state: str
    parent_task_id: str | None = None
    actor_id: str | None = None
    node_id: str | None = None
    worker_id: str | None = None
    worker_pid: int | None = None
    runtime_env_info: dict[str, Any] | None = None
    #: The states it has been in, each as `{"state": …}`.
    events: list[dict[str, Any]] | None = None

    @property
    def has_finished(self) -> bool:
        """Whether it has ended by itself, even if Ray reports another state now."""
        return any(each.get("state") == "FINISHED" for each in self.events or ())


class Actor(msgspec.Struct, frozen=True):
    """An actor that is not dead, as Ray's state API reports it."""

    actor_id: str
    class_name: str
    state: str
    name: str | None = None
    pid: int | None = None
    node_id: str | None = None
    ray_namespace: str | None = None
    is_detached: bool | None = None
    serialized_runtime_env: str | None = None


class _Worker(msgspec.Struct, frozen=True):
    worker_id: str
    pid: int | None = None


class Item(msgspec.Struct, frozen=True):
    """A running task or actor that a release's process has started."""

    id: str
    kind: str
    name: str
    service: str
    release: int
    #: Ids of tasks: its own (an actor's: of the task that creates it), its parent's, and so on.
    ancestors: tuple[str, ...] = ()
    pid: int | None = None
    node_id: str = ""
    is_detached: bool = False


class Work:
    """Find the tasks and actors of releases in Ray."""

    def __init__(self, dashboard: Dashboard | None = None) -> None:
        self._dashboard = dashboard or Dashboard()

    async def look(self) -> list[Item]:
        """Return the running tasks and actors of releases, except for runners and replicas.

        Raises:
            ServeError: Ray's dashboard does not answer.
        """
        tasks = await self._list("tasks", Task, _AT_WORK)
        died = await self._list("tasks", Task, _CALLED_DEAD)
        pids = await self._pids() if died or not all(map(_is_exact, tasks)) else {}
        tasks += [each for each in died if each.worker_id in pids and not each.has_finished]
        actors = await self._list("actors", Actor, [("state", "!=", "DEAD")])
        parents = {each.task_id: each.parent_task_id or "" for each in tasks}
        found: list[Item] = []
        for each in tasks:
            env = (each.runtime_env_info or {}).get("serialized_runtime_env", "")
            if each.type == "NORMAL_TASK" and (whose := _release_of(env)):
                ancestors = await self._ancestors(each.task_id, parents)
                pid = each.worker_pid or pids.get(each.worker_id or "")
                node = each.node_id or ""
                found.append(Item(each.task_id, "task", each.name, *whose, ancestors, pid, node))
        for actor in actors:
            whose = _release_of(actor.serialized_runtime_env or "")
            # A flow's actors share a namespace with their runner, so the name tells them apart.
            is_other = actor.ray_namespace == _SERVE or actor_names.parse_runner(actor.name or "")
            if whose and not is_other:
                found.append(
                    Item(
                        actor.actor_id,
                        "actor",
                        actor.class_name.rpartition(".")[2],
                        *whose,
                        await self._ancestors(creation(actor.actor_id), parents),
                        pid=actor.pid or None,
                        node_id=actor.node_id or "",
                        is_detached=bool(actor.is_detached),
                    )
                )
        return found

    async def _ancestors(self, task: str, parents: dict[str, str]) -> tuple[str, ...]:
        """Return the ids of a task, its parent and so on, as far as Ray knows them."""
        found = [task]
        while len(found) < _ANCESTORS:
            if task not in parents:
                known = await self._list("tasks", Task, [("task_id", "=", task)])
                parents[task] = (known[0].parent_task_id or "") if known else ""
            task = parents[task]
            if not task or task in found:
                break
            found.append(task)
        return tuple(found)

    async def _pids(self) -> dict[str, int]:
        """Return the process ids of the workers that are alive, by worker id."""
        workers = await self._list("workers", _Worker, [("is_alive", "=", "True")])
        return {each.worker_id: each.pid for each in workers if each.pid}

    async def _list(self, what: str, shape: Any, filters: Iterable[tuple[str, str, str]]) -> Any:
        found = await self._dashboard.listed(what, filters)
        return msgspec.convert(found, list[shape], strict=False)


def _is_exact(task: Task) -> bool:
    """Return whether a task's process is known. A stopped process may not have reported it yet."""
    return bool(task.worker_pid) or not task.worker_id


def creation(actor_id: str) -> str:
    """Return the id of the task that creates an actor."""
    return f"{_CREATION}{actor_id}"


async def end(item: Item) -> bool:
    """End the process of a task or actor. Return whether it is gone."""
    if not item.pid:
        return False
    name = item.name if item.kind == "task" else ""
    about = item.service, item.release, name
    return await node_processes.on_node(item.node_id, end_worker, item.pid, *about)


def end_worker(pid: int, service: str, release: int, name: str = "") -> bool:
    """End a Ray worker of this node. Return whether it is gone.

    The worker is left alone if it does not belong to that release or runs no task of that name.
    """
    process = identify(pid)
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
        variables = environment(pid)
    except OSError:
        return True
    mine = {"KOCO_SERVICE": service, "KOCO_RELEASE": str(release)}
    title = title.partition(b"\0")[0]
    # Ray sets a worker's title to its task's name, cut to the space there is.
    is_other = title == b"ray::IDLE" or not title.startswith(b"ray::" + name.encode()[:16])
    if is_other or not mine.items() <= variables.items():
        return False
    return node_processes.kill(process)


def _release_of(runtime_env: str) -> tuple[str, int] | None:
    """Return the service and release of a runtime environment, given as Ray's JSON."""
    try:
        variables = json.loads(runtime_env or "{}").get("env_vars", {})
        return variables["KOCO_SERVICE"], int(variables["KOCO_RELEASE"])
    except (ValueError, KeyError):
        return None
