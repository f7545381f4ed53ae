"""`koco top`: a live view of services and executions."""

import functools
import os
import sys
from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.errors import UsageError


def command(
    filters: Annotated[
        list[str] | None,
        Argument(
            metavar="[FILTER…]",
            help="status=, flow=, service=, user=, tag= or since=, or words to search for.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, Option("--all", "-a", help="Also ended executions.")] = False,
) -> int:
    """Watch services, runners and executions on the whole terminal.

    It shows what runs and how far it is, what it uses, and the last lines of the execution under
    the cursor. Keys follow, cancel, retry and answer it; ? explains them.

    Example: koco top flow=pages/report
    """
    _require_terminal()
    # textual takes an empty one for a wish, which it is not (no-color.org).
    if not os.environ.get("NO_COLOR"):
        os.environ.pop("NO_COLOR", None)
    # textual takes a third of a second, and only this command needs it.
    from koco.cli.top.app import Top
    from koco.cli.top.facts import Filter

    wanted = Filter(" ".join(filters or ()), everything)
    wanted.query()
    # While it is away, the screen says so, and each request may fail at once.
    overview = connection.connect().status()
    connect = functools.partial(connection.connect, away_s=0.0)
    app = Top(connect, overview, filter_=wanted, options=connection.options())
    code = app.run()
    if app.error is not None:
        raise app.error
    return code or 0


def _require_terminal() -> None:
    streams = (sys.stdin, sys.stdout, sys.stderr)
    has_terminal = all(stream is not None and stream.isatty() for stream in streams)
    if not has_terminal or os.environ.get("TERM") == "dumb":
        raise UsageError(
            "koco top needs a terminal",
            hint="`koco ps --watch` writes lines, with --json for programs",
        )
