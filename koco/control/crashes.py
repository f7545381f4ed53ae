"""How processes of releases ended on any node, for those who ask on another one."""

import asyncio
from typing import TYPE_CHECKING, Any

import ray

from koco.cluster import processes
from koco.runner import task_crash

if TYPE_CHECKING:
    from koco.control.parts import Parts


async def asked(_: "Parts", fid: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Answer `crash.find`; see `koco.runner.task_crash.look`."""
    nodes = [node["NodeID"] for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
    what = (arguments["release"], arguments["since"], arguments["pid"])
    looks = (processes.on_node(node, task_crash.look, *what) for node in nodes)
    answers = await asyncio.gather(*looks, return_exceptions=True)
    return next((answer for answer in answers if isinstance(answer, dict)), None)
