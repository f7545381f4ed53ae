"""Search all nodes for the report of how a release's process ended."""

import asyncio

import ray

from koco.cluster import node_processes
from koco.events.questions import Crash, FindCrash
from koco.runner import task_crash


async def find(question: FindCrash) -> Crash | None:
    """Return how a process of a release ended, or None if no node that answers knows.

    Every living node is asked with `koco.runner.task_crash.look`.
    """
    nodes = [node["NodeID"] for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
    where = question.release, question.since, question.pid
    looks = (node_processes.on_node(node, task_crash.look, *where) for node in nodes)
    answers = await asyncio.gather(*looks, return_exceptions=True)
    return next((answer for answer in answers if isinstance(answer, Crash)), None)
