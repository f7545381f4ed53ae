"""What Ray's state API tells of tasks, and what is at work of it."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any, cast

from koco.cluster.dashboard import Dashboard
from koco.cluster.ray_work import Work

ENVIRONMENT = {
    "serialized_runtime_env": json.dumps({"env_vars": {"KOCO_SERVICE": "svc", "KOCO_RELEASE": "1"}})
}


class Told:
    """A dashboard that knows these tasks, and two workers."""

    def __init__(self, *tasks: dict[str, Any]) -> None:
        usual = {"type": "NORMAL_TASK", "state": "RUNNING", "runtime_env_info": ENVIRONMENT}
        self.tasks = [{"task_id": each["name"], **usual, **each} for each in tasks]
        self.workers = [{"worker_id": "w1", "pid": 11}, {"worker_id": "w2", "pid": 12}]

    async def listed(
        self, kind: str, filters: Iterable[tuple[str, str, str]]
    ) -> list[dict[str, Any]]:
        if kind == "workers":
            return self.workers
        found = self.tasks if kind == "tasks" else []
        for key, how, value in filters:
            found = [each for each in found if (each.get(key) == value) == (how == "=")]
        return found


def at_work(*tasks: dict[str, Any]) -> list[tuple[str, int | None]]:
    work = Work(cast(Dashboard, Told(*tasks)))
    return [(each.name, each.pid) for each in asyncio.run(work.look())]


def test_a_task_that_ray_calls_dead_may_still_run() -> None:
    """Some seconds after `koco up`; unless its worker is gone or the task has ended."""
    dead = {"state": "FAILED", "error_type": "WORKER_DIED"}
    running = {"events": [{"state": "RUNNING"}, {"state": "FAILED"}]}
    ended = {"events": [{"state": "RUNNING"}, {"state": "FINISHED"}, {"state": "FAILED"}]}
    found = at_work(
        {"name": "running on", "worker_id": "w1", "worker_pid": 11, **dead, **running},
        {"name": "ended since", "worker_id": "w1", "worker_pid": 11, **dead, **ended},
        {"name": "truly dead", "worker_id": "w0", "worker_pid": 10, **dead, **running},
        {"name": "raised", "worker_id": "w1", "state": "FAILED", "error_type": "TASK_EXECUTION"},
        {"name": "finished", "worker_id": "w1", "state": "FINISHED"},
    )
    assert found == [("running on", 11)]


def test_a_stopped_tasks_process_is_its_workers() -> None:
    """It may not have told Ray its own yet."""
    found = at_work(
        {"name": "stopped", "worker_id": "w2"},
        {"name": "waiting", "state": "PENDING_NODE_ASSIGNMENT"},
    )
    assert found == [("stopped", 12), ("waiting", None)]
