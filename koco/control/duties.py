"""What only the process does that leads: it begins where the last leader has ended."""

from contextlib import suppress
from typing import Any

from koco.cluster import actor_names, runners
from koco.cluster.runners import RunnerActor
from koco.control.container import Parts
from koco.control.tasks import Tasks
from koco.errors import KocoError


async def take_up(parts: Parts, tasks: Tasks, *, control: Any) -> None:
    """Take up the duties of the leader: continue what is under way, and begin what is due.

    The background work is kept in `tasks`. `control` is this process's actor.
    """
    present = {
        key: actor
        for name, actor in (await runners.present()).items()
        if (key := actor_names.parse_runner(name)) is not None
    }
    if not parts.leadership.is_alone:  # perhaps another process has led before
        for actor in present.values():
            tasks.spawn(_turned(actor, control))
    await parts.supervisor.recover(present)
    tasks.spawn(runners.kill_leftovers())
    await parts.locks.recover()
    await parts.waits.recover()
    await parts.deployer.recover()
    await parts.schedules.recover()
    parts.payments.start()
    parts.release_tokens.look_after(lambda: parts.vault.releases_in_need(parts.supervisor.pools))
    for duty in parts.duties:
        tasks.keep(duty)


async def _turned(actor: RunnerActor, control: Any) -> None:
    with suppress(KocoError):  # it died, which its watcher will notice
        await actor.turn_to(control)
