"""`koco down`: stop what `koco up` started."""

from typing import Annotated

import typer

from koco.plurals import counted


def command(
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="URL", help="The dashboard of the Ray to take it from."),
    ] = None,
    ray_token: Annotated[
        str | None,
        typer.Option("--ray-token", metavar="-", help="Ray's token: see `koco up`."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Stop what `koco up` started, here or with --ray on a Ray cluster.

    Nothing else is touched, and the store stays. Executions that run are ended
    with it; the next `koco up` settles them.

    Example: koco down
    """
    from koco.cli.cluster import local, options, remote
    from koco.cli.terminal import output

    if ray is None:
        options.refuse({"--ray-token": ray_token}, without="--ray")
    result = local.down() if ray is None else remote.down(ray, token=ray_token)
    if as_json:
        output.print_json(result)
    elif result["ended"]:
        count = counted(result["ended"], "process")
        output.note(f"stopped {result['what']} ({count}); the store stays")
        if lost := _lost(result["executions"] or {}):
            output.note(lost)
    else:
        output.note("nothing runs that `koco up` started")


def _lost(executions: dict[str, int]) -> str:
    """Return what becomes of the executions that had not ended, or nothing."""
    begun = {status: n for status, n in executions.items() if n and status != "queued"}
    if not begun:
        return ""
    count, listed = sum(begun.values()), ", ".join(f"{n} {name}" for name, n in begun.items())
    ends = counted(count, "execution", "ends")
    gone = "its process is" if count == 1 else "their processes are"
    return f"{ends} with an error at the next `koco up`, {gone} gone: {listed}"
