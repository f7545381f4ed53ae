"""`koco files put`: upload files into an execution."""

from typing import Annotated

from koco import file_paths
from koco.cli import connection
from koco.cli.inputs import file_inputs
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.errors import PathError


def command(
    fid: Annotated[
        str,
        Argument(
            metavar="FID",
            help="The execution, which must not have ended: its fid, or a unique start of it.",
        ),
    ],
    given: Annotated[
        list[str],
        Argument(metavar="LOCAL...", help="Files, or folders with everything in them."),
    ],
    to: Annotated[
        str,
        Option("--to", metavar="FOLDER", help="The target folder: in, or a folder below it."),
    ] = "in",
    as_json: Annotated[bool, Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """Upload files into an execution.

    Files and folders keep their names, and an existing file is replaced. An interrupted
    upload resumes, and content that is already there is not sent again. Prints the paths.

    Example: koco files put 5wzk report.pdf --to in/more
    """
    folder = file_paths.place(to)
    if not file_paths.is_within(folder, "in"):
        raise PathError(
            f"--to {to}: files can only be uploaded below in/", hint="out/ is for the flow"
        )
    files = [file for each in given for file in file_inputs.find(each)]
    client = connection.connect()
    whole = client.execution(fid)["fid"]
    items = file_inputs.attach(client, whole, file_inputs.send(client, files), to=folder)
    if as_json:
        output.print_items(items)
        return
    for item in items:
        output.print_line(item["path"])
