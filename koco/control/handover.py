"""Takes over from another control plane: the new one starts while the old one serves.

Once the new process has imported all it needs, it asks the old one to release the port and the
store, opens them, attaches to the runners, and ends the old one. If it fails, the old process,
which has been standing by, resumes. That needs none of the old code on the disk. The store's lock
decides in any case: a process that stands by and finds the lock free resumes by itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from koco.sdk.process import control_client

log = logging.getLogger(__name__)

#: How long a control plane stands by after a handover before it checks if it is needed (seconds).
STAND_BY_S = 30.0

#: Pause before another call to a control plane whose process restarts (seconds).
_AGAIN_S = 0.1


async def before(generation: int) -> list[Any]:
    """Return the control planes of earlier generations."""
    found = await asyncio.to_thread(control_client.find_planes)
    return [handle for number, handle in found.items() if number < generation]


async def end_members(generation: int) -> None:
    """End the other processes of control planes of earlier generations, which may come to lead."""
    import ray

    found = await asyncio.to_thread(control_client.find_members)
    for (number, _), handle in found.items():
        if number < generation:
            ray.kill(handle, no_restart=True)


@asynccontextmanager
async def take_over(
    former: list[Any], *, give_up: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Have the former control planes hand over, and end them if the block succeeds.

    If it fails, `give_up` is called to release the port and the store, and the former ones resume.
    """
    import ray

    try:
        for each in former:
            await _call(each.hand_over)
        yield
    except BaseException:
        await give_up()
        for each in former:
            await _call(each.resume)
        raise
    for each in former:
        ray.kill(each, no_restart=True)


async def _call(method: Any) -> None:
    """Call a control plane that may restart meanwhile, or be gone."""
    from ray.exceptions import ActorDiedError, ActorUnavailableError

    while True:
        try:
            await method.remote()
            return
        except ActorDiedError:
            return
        except ActorUnavailableError:
            await asyncio.sleep(_AGAIN_S)
