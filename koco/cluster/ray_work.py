"""What runs in Ray for executions: tasks and actors, who has started them, and their processes.

Ray's state API knows it, about a second late. It is asked when somebody asks, never by the way.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from koco.cluster import actor_names, node_processes
from koco.cluster.dashboard import Dashboard
from koco.runner.process.identity import environment, identify

#: How many ended tasks are asked for to find out who has started one that runs.
_ANCESTORS = 200

#: The id of a task that makes an actor is this before the actor's id (`TaskID` in Ray's C++).
_CREATION = "f" * 16

#: The namespace of Serve's actors: replicas of endpoints are nobody's left-over.
_SERVE = "serve"

#: Tasks that have not ended; and those that Ray calls dead, though they may run on: 15 seconds
#: after a driver has exited all of its job are (`gcs_mark_task_failed_on_job_done_delay_ms`), and
#: what runners start is of the job of `koco up`.
_AT_WORK = [("state", "!=", "FINISHED"), ("state", "!=", "FAILED")]
_CALLED_DEAD = [("error_type", "=", "WORKER_DIED"), ("type", "=", "NORMAL_TASK")]


class Task(msgspec.Struct, frozen=True):
    """A task that has not ended, as Ray's state API tells of it: a call of a method as well."""

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
    #: Which states it has been in, each as `{"state": …}`.
    events: list[dict[str, Any]] | None = None

    @property
    def has_finished(self) -> bool:
        """Whether it has come to its end by itself, whatever its state is now."""
        return any(each.get("state") == "FINISHED" for each in self.events or ())


class Actor(msgspec.Struct, frozen=True):
    """An actor that is there."""

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
    """A task or an actor that is at work, of a release's process."""

    id: str
    kind: str
    name: str
    service: str
    release: int
    #: Who has started it, who has started that, …: ids of tasks.
    ancestors: tuple[str, ...] = ()
    pid: int | None = None
    node_id: str = ""
    is_detached: bool = False


class Work:
    """Looks at Ray's tasks and actors."""

    def __init__(self, dashboard: Dashboard | None = None) -> None:
        self._dashboard = dashboard or Dashboard()

    async def look(self) -> list[Item]:
        """Return what is at work in processes of releases, runners and replicas left out.

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
            # A flow's actors are in the namespace of its runner, which is none of them.
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
        """Return a task's id, its parent's, and so on, as far as Ray knows them."""
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
        """Return the processes of workers that are there."""
        workers = await self._list("workers", _Worker, [("is_alive", "=", "True")])
        return {each.worker_id: each.pid for each in workers if each.pid}

    async def _list(self, what: str, shape: Any, filters: Iterable[tuple[str, str, str]]) -> Any:
        found = await self._dashboard.listed(what, filters)
        return msgspec.convert(found, list[shape], strict=False)


def _is_exact(task: Task) -> bool:
    """Say whether a task's process is known: a stopped one may not have told it yet."""
    return bool(task.worker_pid) or not task.worker_id


def creation(actor_id: str) -> str:
    """Return the id of the task that makes an actor."""
    return f"{_CREATION}{actor_id}"


async def end(item: Item) -> bool:
    """End the process that something is at work in; return whether it is gone."""
    if not item.pid:
        return False
    name = item.name if item.kind == "task" else ""
    about = item.service, item.release, name
    return await node_processes.on_node(item.node_id, end_worker, item.pid, *about)


def end_worker(pid: int, service: str, release: int, name: str = "") -> bool:
    """End a Ray worker of this node, if it is at work for that release, at a task of that name."""
    process = identify(pid)
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
        variables = environment(pid)
    except OSError:
        return True
    mine = {"KOCO_SERVICE": service, "KOCO_RELEASE": str(release)}
    title = title.partition(b"\0")[0]
    # Ray gives a worker its task's name as a title, as much of it as fits.
    is_other = title == b"ray::IDLE" or not title.startswith(b"ray::" + name.encode()[:16])
    if is_other or not mine.items() <= variables.items():
        return False
    return node_processes.kill(process)


def _release_of(runtime_env: str) -> tuple[str, int] | None:
    """Return service and release of a runtime environment, as Ray keeps it."""
    try:
        variables = json.loads(runtime_env or "{}").get("env_vars", {})
        return variables["KOCO_SERVICE"], int(variables["KOCO_RELEASE"])
    except (ValueError, KeyError):
        return None
