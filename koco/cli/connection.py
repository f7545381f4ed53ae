"""The control plane that this command line talks to."""

import contextlib
import functools
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from koco.cli.terminal import output
from koco.client import context_file
from koco.client.context_file import Choice, Context

if TYPE_CHECKING:
    from koco.client.client import Client

_chosen: str | None = None
_environment: str | None = None


def choose(name: str | None) -> None:
    """Keep the value of `--context` for `context`."""
    global _chosen
    _chosen = name


def choose_environment(name: str | None) -> None:
    """Keep the value of `--env` for `context`; None keeps the former one.

    It is an option of koco and of some commands, because people write it at either place.
    """
    global _environment
    if name is not None:
        _environment = name.strip() or None


def is_chosen() -> bool:
    """Return whether `--context` is given."""
    return _chosen is not None


def environment() -> str | None:
    """Return the name of the environment that `--env` or KOCO_ENV selects."""
    return _environment or os.environ.get("KOCO_ENV", "").strip() or None


def options() -> list[str]:
    """Return the options with which another `koco` chooses the same context."""
    given = {"--context": _chosen, "--env": _environment}
    return [part for name, value in given.items() if value is not None for part in (name, value)]


def context() -> Context:
    """Return the context that flag, environment, project and file select."""
    return context_file.current(_chosen, env=_environment)


def choice() -> Choice:
    """Return the name of that context, and the source that selected it."""
    return context_file.select(_chosen, env=_environment)


def connect(*, away_s: float | None = None, chosen: Context | None = None) -> "Client":
    """Return a client of a context's control plane; without `chosen`, of the selected one.

    `away_s` is how long each request waits for one that is away, instead of what the environment
    says: views that show its absence do not wait.
    """
    # `main` imports this module for every command, and not every command sends requests.
    from koco.client.client import Client
    from koco.client.transport import AWAY_S

    wait_s = context_file.restart_wait_s() if away_s is None else away_s
    wait_s = AWAY_S if wait_s is None else wait_s
    chosen = chosen or context()
    return Client(
        chosen,
        away_s=wait_s,
        remembers=True,
        on_skew=_warn,
        on_wait=_report_wait,
        is_gone=functools.partial(_is_gone, chosen.cluster)
        if chosen.name == context_file.LOCAL
        else None,
    )


def _is_gone(cluster: Mapping[str, Any]) -> bool:
    """Return whether nothing is left here of the cluster that `koco up` started or joined."""
    from koco.bootstrap import local_head, running_heads  # psutil: only if nothing answers

    # Check both: a Ray that was joined has no mark, and one that is starting has no GCS yet.
    address = str(cluster.get("address", ""))
    return not running_heads.listens(address) and not local_head.marked(
        local_head.mark_of(context_file.home())
    )


def _warn(message: str, hint: str) -> None:
    """Warn about a possible problem if stderr is available."""
    # The command continues if there is no stderr, or if its reader is gone.
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            output.warn(message, hint=hint)


def _report_wait(url: str, left_s: float) -> None:
    """Report a wait for a control plane, if a person waits too."""
    if sys.stderr is not None and output.is_terminal(sys.stderr):
        with contextlib.suppress(OSError):
            output.note(f"{url} does not answer, but has before: waiting {left_s:.0f} s for it…")
