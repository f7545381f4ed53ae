"""The control plane that this command line talks to."""

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from koco.client import Client
    from koco.config import Choice, Context

_chosen: str | None = None


def choose(name: str | None) -> None:
    """Keep what `--context` said, for `context`."""
    global _chosen
    _chosen = name


def context() -> "Context":
    """Return the context that flag, environment, project and file agree on."""
    from koco import config

    return config.current(_chosen)


def choice() -> "Choice":
    """Return which context that is by name, and what says so."""
    from koco import config

    return config.chosen(_chosen)


def connect() -> "Client":
    """Return a client of the chosen context's control plane."""
    from koco.client import Client

    return Client(context(), on_skew=_warn)


def _warn(message: str, hint: str) -> None:
    """Tell of something that may go wrong yet, where somebody can hear it."""
    from koco.cli import output

    # Without a stderr, or with one that nobody reads any more, the command goes on all the same.
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            output.warn(message, hint=hint)
