"""Take over the runners that have outlived the control plane's process.

The restart does not wait for their answers. Until a runner says which executions it holds, it
counts as holding those that the store gave it, and gets nothing new. So its executions are neither
taken for lost nor started elsewhere, however long it is silent. If it has work, its vigil checks
that it still works.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from koco.cluster.runners import RunnerActor
from koco.control.runners.pool import Pool
from koco.control.runners.worker import Runner, see_off
from koco.control.tasks import Tasks
from koco.errors import KocoError
from koco.runner.spec import PROTOCOL, Presence

log = logging.getLogger(__name__)

#: How long a runner may take to answer before another one takes its place (seconds).
_ATTACH_S = 5.0

#: A runner: `(service, release, id)`.
Key = tuple[str, int, str]
#: The runners that already exist.
Present = dict[Key, RunnerActor]
#: Settles executions that a runner was given and does not have: `(fids, runner id)`.
Settle = Callable[[Iterable[str], str], Awaitable[None]]


def adopt(
    present: Present,
    pools: Mapping[tuple[str, int], Pool],
    given: Mapping[Key, set[str]],
    *,
    alone: Collection[str],
    tasks: Tasks,
    settle: Settle,
) -> None:
    """Give living runners to their pools, and end those whose pool no longer exists.

    `given` holds, for each runner, the fids of the executions that it was given and that have not
    ended. Those in `alone` run alone.
    """
    for key, actor in present.items():
        service, number, runner_id = key
        pool = pools.get((service, number))
        if pool is None:
            tasks.spawn(see_off(actor))
            continue
        running = set(given.get(key, ()))
        runner = Runner(runner_id, actor, running=running, is_attaching=True)
        if len(running) == 1:
            runner.alone = next((fid for fid in running if fid in alone), "")
        pool.adopt(runner)
        tasks.spawn(_attach(runner, pool, settle))


async def _attach(runner: Runner, pool: Pool, settle: Settle) -> None:
    """Ask a runner which executions it holds, settle the missing ones, and let it work on."""
    asking = asyncio.ensure_future(runner.actor.attach())
    if not (await asyncio.wait({asking}, timeout=_ATTACH_S))[0]:
        _give_up(runner, pool, "it did not answer after a restart of the control plane")
    try:
        presence = await asking
        missing = runner.running - set(presence.fids)
        if missing:
            # A launch from before the restart may have been on its way. It has arrived by now.
            presence = await runner.actor.attach()
            missing -= set(presence.fids)
    except KocoError:
        return  # it died: its watcher settles its executions
    except Exception:
        log.exception("runner %s of %s does not report its executions", runner.id, pool.name)
        _give_up(runner, pool, "it did not report its executions")
        return
    if not presence.is_ready:
        _give_up(runner, pool, "a restart of the control plane interrupted its start")
        return
    await settle(sorted(missing & runner.running), runner.id)
    _take_over(runner, pool, presence)


def _give_up(runner: Runner, pool: Pool, cause: str) -> None:
    """Give a runner nothing new, and end it if it has no work."""
    runner.is_attaching, runner.is_leaving = False, True
    if not runner.running:
        runner.give_up(cause)
    pool.keep_warm()
    pool.pump()


def _take_over(runner: Runner, pool: Pool, presence: Presence) -> None:
    runner.served = presence.served
    # A runner of another koco version, from before an upgrade, only finishes its executions.
    runner.is_leaving |= presence.protocol != PROTOCOL
    runner.is_attaching, runner.is_ready = False, True
    pool.keep_warm()
    pool.pump()
