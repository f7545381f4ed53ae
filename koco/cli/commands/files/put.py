"""`koco files put`: upload files into an execution."""

from typing import Annotated

import typer


def command(
    fid: Annotated[
        str, typer.Argument(metavar="FID", help="The execution; it must not have ended.")
    ],
    given: Annotated[
        list[str], typer.Argument(metavar="LOCAL...", help="Files, or folders with all in them.")
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="FOLDER", help="Where to put them: in, or in/….")
    ] = "in",
    as_json: Annotated[bool, typer.Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """Upload files into an execution.

    Each keeps its name, a folder with all below it; a file of that name is replaced.
    What was interrupted goes on where it ended, and what is there is not sent again.

    Example: koco files put 5wzk report.pdf --to in/more
    """
    from koco import file_paths
    from koco.cli import connection
    from koco.cli.inputs import file_inputs
    from koco.cli.terminal import output
    from koco.errors import PathError

    folder = file_paths.place(to)
    if not file_paths.is_within(folder, "in"):
        raise PathError(f"--to {to}: you put files into in/", hint="out/ is the flow's own")
    files = [file for each in given for file in file_inputs.find(each)]
    client = connection.connect()
    whole = client.execution(fid)["fid"]
    items = file_inputs.attach(client, whole, file_inputs.send(client, files), to=folder)
    if as_json:
        output.print_items(items)
        return
    for item in items:
        output.print_line(item["path"])
