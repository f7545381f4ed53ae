"""`koco stack`: what an execution is in the middle of."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from koco.cli import arguments
from koco.cli.arguments import Fid


def command(
    fid: Fid = "-",
    everything: Annotated[
        bool, typer.Option("--all", help="All threads of its process, koco's and Ray's as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print the Python stacks of an execution's process and of its Ray tasks, as they go on.

    Of each thread or task the newest call comes last. Nothing is stopped for it, and
    nothing has to be installed; code that never gives up the interpreter is shown, too.

    Example: koco stack 5wzk
    """
    from koco.cli import connection
    from koco.cli.terminal import output

    client = connection.connect()
    found = client.stack(arguments.meant(client, fid), threads=everything)
    if as_json:
        output.print_json(found)
        return
    output.print_line(f"{found['fid']} is {found['status']}")
    if found["note"]:
        output.print_line(found["note"])
    for each in found["processes"]:
        for line in _lines(each):
            output.print_line(line)


def _lines(process: dict[str, Any]) -> Iterator[str]:
    yield ""
    where = f"pid {process['pid']} on node {process['node'][:8]}"
    yield f"{process['name']}, {where}: {process['state']}"
    if process["note"]:
        yield f"  {process['note']}"
    for stack in process["stacks"]:
        yield f"  {stack['name']}:"
        for frame in stack["frames"]:
            yield f"    {frame['file']}:{frame['line']} in {frame['function']}"
        if stack["waits"]:
            yield f"    waits for: {stack['waits']}"
