"""Runners that have outlived the control plane's process: taken over, or seen off."""

import asyncio

from koco.control.pool import Pool
from koco.control.tasks import Tasks
from koco.control.worker import Actor, Runner, see_off
from koco.errors import KocoError
from koco.runner.spec import PROTOCOL, Presence

#: How long a runner may take to say what it holds after a restart of the control plane (seconds).
_ATTACH_S = 5.0

#: A runner that is there already, by `(service, release, id)`.
Present = dict[tuple[str, int, str], Actor]


async def adopt(
    present: Present, pools: dict[tuple[str, int], Pool], *, needed: set[str], tasks: Tasks
) -> dict[str, set[str] | None]:
    """Attach to living runners; return the fids each holds, None where it did not say.

    `needed` are the runners that executions were given to.
    """
    held: dict[str, set[str] | None] = {}
    # All at once: what does not answer must not delay the start by as many times.
    needing = [actor for key, actor in present.items() if key[:2] in pools]
    answers = dict(zip(map(id, needing), await asyncio.gather(*map(_ask, needing)), strict=True))
    for (service, number, runner_id), actor in present.items():
        pool = pools.get((service, number))
        if pool is None:
            tasks.spawn(see_off(actor))  # of a release that nothing needs any more
            continue
        runner = Runner(runner_id, actor)
        presence = answers[id(actor)]
        if isinstance(presence, KocoError):
            continue  # dead: not held by anybody
        if isinstance(presence, TimeoutError):
            if runner_id not in needed:
                # It is still starting, or works no more: the pool starts its own.
                tasks.spawn(actor.kill())
                continue
            # "Could not look" is not "nothing there": its watcher will tell. It
            # takes nothing new, and leaves when what it runs has ended.
            held[runner_id] = None
            runner.is_leaving = True
        else:
            if not presence.is_ready:
                tasks.spawn(actor.kill())  # its start was cut short: it has run nothing yet
                continue
            held[runner_id] = set(presence.fids)
            runner.served = presence.served
            # Of another koco, from before an upgrade: it may finish what it runs.
            runner.is_leaving = presence.protocol != PROTOCOL
        runner.is_ready = True
        pool.adopt(runner)
    return held


async def _ask(actor: Actor) -> Presence | KocoError | TimeoutError:
    """Ask a runner what it holds; what comes instead of an answer is one, too."""
    try:
        return await asyncio.wait_for(actor.attach(), _ATTACH_S)
    except (KocoError, TimeoutError) as exc:
        return exc
