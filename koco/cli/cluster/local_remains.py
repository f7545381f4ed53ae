"""End what is left of a cluster on this machine whose vital parts are dead."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from koco.bootstrap import local_head as cluster
from koco.bootstrap import running_heads
from koco.cli.cluster import driver_process
from koco.cli.terminal import output
from koco.client import context_file
from koco.plurals import counted

#: Time for the remaining processes of a dead head to end on their own (seconds).
_REMAINS_S = 1.0


def end(remains: running_heads.Remains) -> int:
    """End the remaining processes of a head that cannot continue; return their number."""
    if not remains.count:
        return 0
    # This includes a control plane that still serves, because it holds the store, which the next
    # one needs.
    ended = cluster.stop(cluster.mark_of(context_file.home()), term_s=_REMAINS_S)
    left = counted(ended, "remaining process")
    output.note(f"{describe_gone(remains.gone)}: ended {left}")
    return ended


def end_orphan(here: Mapping[str, Any]) -> None:
    """End a control plane that still serves although the Ray that it joined is gone.

    It would serve for another minute, and it holds the store.
    """
    if running_heads.listens(str(here.get("address", ""))):
        return
    data_dir = Path(here.get("data_dir") or driver_process.data_dir())
    if running_heads.end_control_plane(data_dir.resolve()):
        output.note("the Ray of this control plane is gone: ended its process, too")


def describe_gone(gone: Sequence[str]) -> str:
    """Return which parts of a cluster are gone, as the start of a message."""
    listed = " and ".join(filter(None, (", ".join(gone[:-1]), gone[-1])))
    is_one = len(gone) == 1 and listed != running_heads.AGENTS
    return f"the {listed} of this cluster {'is' if is_one else 'are'} gone"
