"""What only the process does that leads: it begins where the last leader has ended."""

from koco.cluster import actor_names, runners
from koco.control.container import Parts
from koco.control.tasks import Tasks


async def take_up(parts: Parts, tasks: Tasks) -> None:
    """Take up the duties of the leader: continue what is under way, and begin what is due.

    The background work is kept in `tasks`.
    """
    await parts.supervisor.recover(
        {
            key: actor
            for name, actor in (await runners.present()).items()
            if (key := actor_names.parse_runner(name)) is not None
        }
    )
    tasks.spawn(runners.kill_leftovers())
    await parts.locks.recover()
    await parts.waits.recover()
    await parts.deployer.recover()
    await parts.schedules.recover()
    parts.payments.start()
    parts.release_tokens.look_after(lambda: parts.vault.releases_in_need(parts.supervisor.pools))
    for duty in parts.duties:
        tasks.keep(duty)
