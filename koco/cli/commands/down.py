"""`koco down`: stop what `koco up` started."""

from typing import Annotated

import typer

from koco.cli.cluster import local, options, remote
from koco.cli.terminal import output
from koco.plurals import counted


def command(
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="URL", help="The dashboard of the Ray cluster to remove koco from."
        ),
    ] = None,
    ray_token: Annotated[
        str | None,
        typer.Option(
            "--ray-token", metavar="-", help="Read Ray's token from stdin; see `koco up`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Stop what `koco up` started, on this machine or on a Ray cluster.

    Nothing else is stopped, and the store is kept. Running executions lose their processes:
    the next `koco up` ends them with an error.

    Example: koco down
    """
    if ray is None:
        options.refuse({"--ray-token": ray_token}, without="--ray")
    result = local.down() if ray is None else remote.down(ray, token=ray_token)
    if as_json:
        output.print_json(result)
    elif result["ended"]:
        count = counted(result["ended"], "process")
        output.note(f"stopped {result['what']} ({count}); the store is kept")
        if lost := _describe_lost(result["executions"] or {}):
            output.note(lost)
    else:
        output.note("there is nothing to stop: nothing that `koco up` started is running")


def _describe_lost(executions: dict[str, int]) -> str:
    """Return a note about executions that lost their processes; empty if there are none."""
    begun = {status: n for status, n in executions.items() if n and status != "queued"}
    if not begun:
        return ""
    count, listed = sum(begun.values()), ", ".join(f"{n} {name}" for name, n in begun.items())
    return f"{counted(count, 'execution', 'ends')} with an error at the next `koco up`: {listed}"
