"""`koco files ls`: list an execution's files."""

from typing import Annotated

from koco.cli import arguments, connection
from koco.cli.arguments import OneFid
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times
from koco.client.answers import File
from koco.sizes import format_size


def command(
    fid: OneFid,
    path: Annotated[
        str,
        Argument(
            metavar="[PATH]", show_default=False, help="A folder or a file [default: all files]."
        ),
    ] = "",
    as_json: Annotated[bool, Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """List an execution's files.

    in/ has the files that its user uploaded, out/ those that the flow made.

    Example: koco files ls 5wzk out
    """
    client = connection.connect()
    items = client.files.ls(client.execution(arguments.resolve_fid(client, fid))["fid"], path)
    if as_json:
        output.print_items(items)
        return
    if not output.is_terminal():
        names = ("path", "size_bytes", "by", "created", "sha256")
        output.print_fields(names, items)
    elif items:
        columns = ("PATH", "SIZE", "BY", "CREATED")
        output.print_table(columns, [_row(each) for each in items], widest="PATH")
    else:
        output.note("the execution has no files")


def _row(file: File) -> tuple[str, str, str, str]:
    return file["path"], format_size(file["size_bytes"]), file["by"], times.ago(file["created"])
