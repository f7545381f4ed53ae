"""One control plane takes over from another: the new one starts while the old one serves.

Once the new process has imported all it needs, it asks the old one to let go of
port and store, opens them, attaches to the runners, and ends the old one. Where
it fails, the old one, whose process has been standing by, goes on: that needs
nothing of the old code on the disk. The store's lock decides in any case:
whoever stands by and finds it free goes on by itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from koco.sdk.process import control_client

log = logging.getLogger(__name__)

#: How long one that has handed over stands by before it looks whether it is needed (seconds).
STAND_BY_S = 30.0

#: Pause before another call to one whose process restarts (seconds).
_AGAIN_S = 0.1


async def before(generation: int) -> list[Any]:
    """Return the control planes that are to be taken over from."""
    found = await asyncio.to_thread(control_client.find_planes)
    return [handle for number, handle in found.items() if number < generation]


@asynccontextmanager
async def taken_over(
    former: list[Any], *, give_up: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Have the former ones let go; end them when all went well.

    When not, `give_up` is called to let go of what was taken, and they go on.
    """
    import ray

    try:
        for each in former:
            await _told(each.hand_over)
        yield
    except BaseException:
        await give_up()
        for each in former:
            await _told(each.resume)
        raise
    for each in former:
        ray.kill(each, no_restart=True)


async def _told(method: Any) -> None:
    """Call one that may restart meanwhile, or be gone."""
    from ray.exceptions import ActorDiedError, ActorUnavailableError

    while True:
        try:
            await method.remote()
            return
        except ActorDiedError:
            return
        except ActorUnavailableError:
            await asyncio.sleep(_AGAIN_S)
