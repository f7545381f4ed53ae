"""`koco down` on this machine."""

from typing import Any

from koco.bootstrap import local_head as cluster
from koco.bootstrap import running_heads
from koco.cli.cluster import driver_process, join, local_home
from koco.client import context_file
from koco.client.client import Client
from koco.client.context_file import Context
from koco.errors import KocoError
from koco.events.model import FINAL

#: Time for a control plane to count its open executions before it is stopped (seconds). One that
#: takes longer is stopped without.
_COUNT_S = 5.0


def down() -> dict[str, Any]:
    """Stop what `up` started; return `{what, ended, executions, mortal}`.

    `executions` counts the open ones by status, `mortal` those of them that will end with an error.
    Both are None if the control plane did not answer.

    Raises:
        KocoError: the Ray that koco has joined does not answer, or does not end its processes.
    """
    with local_home.alone():
        known = local_home.load_context()
        mark = cluster.mark_of(context_file.home())
        executions = open_executions(known if cluster.is_running(mark) else None)
        if ended := cluster.stop(mark):
            local_home.note_stop(known)
            return {"what": "Ray and the control plane", "ended": ended, **executions}
        if known is None or not _may_run_in_joined(known):
            return {"what": "", "ended": 0, **open_executions(None)}
        executions = open_executions(known)
        address = str(known.cluster["address"])
        order = driver_process.order("down", known.cluster, address)
        ended = driver_process.carry_out(order)["ended"]
        local_home.note_stop(known)
        if not ended:
            return {"what": "", "ended": 0, **open_executions(None)}
        return {"what": "the control plane and its runners", "ended": ended, **executions}


def _may_run_in_joined(known: Context) -> bool:
    """Return whether a control plane of ours may run in the Ray that koco has joined here."""
    # Whatever listens there now, the last `koco down` has left nothing of koco behind.
    if local_home.is_stopped(known):
        return False
    address = str(known.cluster.get("address", ""))
    return join.was_joined(address, known.cluster) and running_heads.listens(address)


def open_executions(known: Context | None) -> dict[str, dict[str, int] | None]:
    """Return the numbers of open executions by status: all, and those that a stop ends.

    They are None without a control plane that answers.
    """
    if known is None:
        return {"executions": None, "mortal": None}
    try:
        status = Client(known, away_s=1.0).status(timeout_s=_COUNT_S)
    except KocoError:
        return open_executions(None)  # one that does not answer can still be stopped
    tallies = {name: count for name, count in status["executions"].items() if name not in FINAL}
    return {"executions": tallies, "mortal": status.get("mortal", {})}
