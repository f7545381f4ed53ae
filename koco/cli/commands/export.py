"""`koco export`: write executions into folders."""

from pathlib import Path
from typing import Annotated

from koco.cli import arguments, connection, exporting
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.plurals import counted


def command(
    fids: Annotated[
        list[str],
        Argument(metavar="FID...", help="The executions: fids, or unique starts of them."),
    ],
    to: Annotated[
        Path, Option("--to", metavar="DIR", help="The folder for a folder of each.")
    ] = Path(),
    force: Annotated[
        bool, Option("--force", help="Write those again that are there already.")
    ] = False,
    as_json: Annotated[
        bool, Option("--json", help="Print a line of JSON for each execution.")
    ] = False,
) -> None:
    """Write executions into folders: events, inputs, result, files.

    Each gets a folder named by its fid, with its recorded steps, too. It appears only when it
    is complete. An export that
    is there already stays, unless the execution has gone on since.

    Example: koco export 5wzk 8q2m --to exports
    """
    client = connection.connect()
    # All are looked up before anything is written.
    found = [client.execution(arguments.resolve_fid(client, fid)) for fid in fids]
    for execution in {each["fid"]: each for each in found}.values():
        done = exporting.export(client, execution, to, force=force)
        if as_json:
            told = {"fid": done.fid, "path": str(done.path), "new": done.new}
            more = {"events": done.events, "files": done.files} if done.new else {}
            output.print_ndjson({**told, **more})
            continue
        if done.new:
            events, files = counted(done.events, "event"), counted(done.files, "file")
            output.note(f"{done.fid}: {events}, {files}")
        else:
            output.note(f"{done.fid}: is there already; --force writes it again")
        output.print_line(str(done.path))
