"""The control plane that this command line talks to."""

import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Any

from koco.cli.contexts import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from koco.client.client import Client
    from koco.client.context_file import Choice, Context

_chosen: str | None = None


def choose(name: str | None) -> None:
    """Keep the value of `--context` for `context`."""
    global _chosen
    _chosen = name


def context() -> "Context":
    """Return the context that flag, environment, project and file select."""
    from koco.client import context_file

    return context_file.current(_chosen)


def choice() -> "Choice":
    """Return the name of that context, and the source that selected it."""
    from koco.client import context_file

    return context_file.chosen(_chosen)


def connect() -> "Client":
    """Return a client of the chosen context's control plane."""
    from koco.client import context_file
    from koco.client.client import Client
    from koco.client.transport import AWAY_S

    wait_s = context_file.restart_wait_s()
    wait_s = AWAY_S if wait_s is None else wait_s
    chosen = context()
    return Client(
        chosen,
        away_s=wait_s,
        remembers=True,
        on_skew=_warn,
        on_wait=_tell_of_waiting,
        is_gone=functools.partial(_is_gone, chosen.cluster) if chosen.name == LOCAL else None,
    )


def _is_gone(cluster: "Mapping[str, Any]") -> bool:
    """Return whether nothing is left here of the cluster that `koco up` started or joined."""
    from koco.bootstrap import local_head, running_heads
    from koco.client import context_file

    # Check both: a Ray that was joined has no mark, and one that is starting has no GCS yet.
    address = str(cluster.get("address", ""))
    return not running_heads.listens(address) and not local_head.marked(
        local_head.mark_of(context_file.home())
    )


def _warn(message: str, hint: str) -> None:
    """Warn about a possible problem if stderr is available."""
    from koco.cli.terminal import output

    # The command continues if there is no stderr, or if its reader is gone.
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            output.warn(message, hint=hint)


def _tell_of_waiting(url: str, left_s: float) -> None:
    """Report a wait for a control plane, if a person waits too."""
    from koco.cli.terminal import output

    if sys.stderr is not None and output.is_terminal(sys.stderr):
        with contextlib.suppress(OSError):
            output.note(f"{url} does not answer, and has before: waiting {left_s:.0f} s for it…")
