"""`koco stack`: show the current stacks of an execution."""

from collections.abc import Iterator
from typing import Annotated

from koco.cli import arguments, connection
from koco.cli.arguments import Fid
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.client.answers import StackedProcess


def command(
    fid: Fid = "-",
    everything: Annotated[
        bool, Option("--all", help="All threads of its process, including koco's and Ray's.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the stacks as JSON.")] = False,
) -> None:
    """Show the current Python stacks of an execution.

    They include its Ray tasks. The newest call comes last. The execution is not stopped for
    this, and nothing has to be installed. It works even for code that never releases the
    interpreter's lock.

    Example: koco stack 5wzk
    """
    client = connection.connect()
    found = client.stack(arguments.resolve_fid(client, fid), threads=everything)
    if as_json:
        output.print_json(found)
        return
    output.print_line(f"{found['fid']} is {found['status']}")
    if found["note"]:
        output.print_line(found["note"])
    for each in found["processes"]:
        for line in _lines(each):
            output.print_line(line)


def _lines(process: StackedProcess) -> Iterator[str]:
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
