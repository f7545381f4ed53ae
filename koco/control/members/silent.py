"""Ends processes of the control plane that no longer answer, so that Ray starts them again.

A former leader that stands still must not keep the callers waiting that have turned to it.
"""

import asyncio
import logging
from typing import Any

import ray
from ray.exceptions import RayError

from koco.sdk.process import control_client
from koco.store.engine.protocol import Engine

log = logging.getLogger(__name__)

#: How long a process may take to answer (seconds).
_ANSWER_S = 5.0


async def end(engine: Engine, me: str) -> None:
    """End the members of a shared store that do not answer. `me` is this process's name."""
    names = [member.name for member in await engine.members() if member.name != me]
    await asyncio.gather(*map(_end_if_silent, names))


async def _end_if_silent(name: str) -> None:
    try:
        handle = await asyncio.to_thread(ray.get_actor, name, namespace=control_client.NAMESPACE)
        await asyncio.wait_for(_identity(handle), _ANSWER_S)
    except TimeoutError:
        log.warning("%s does not answer: it is ended, and Ray starts it again", name)
        await asyncio.to_thread(ray.kill, handle, no_restart=False)
    except (RayError, ValueError):
        return  # it has ended by itself


async def _identity(handle: Any) -> Any:
    return await handle.identity.remote()
