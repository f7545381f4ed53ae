"""`koco files ls`: an execution's files."""

from typing import Annotated, Any

import typer


def command(
    fid: Annotated[str, typer.Argument(metavar="FID", help="The execution.")],
    path: Annotated[
        str,
        typer.Argument(
            metavar="[PATH]", show_default=False, help="A folder or file; all if left out."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List an execution's files: in/ is what its user brought, out/ what the flow made.

    Example: koco files ls 5wzk out
    """
    from koco.cli import arguments, connection
    from koco.cli.terminal import output

    client = connection.connect()
    items = client.files.ls(client.execution(arguments.meant(client, fid))["fid"], path)
    if as_json:
        output.print_items(items)
        return
    if not output.is_terminal():
        names = ("path", "size_bytes", "by", "created", "sha256")
        output.print_table(names, [[str(each[name]) for name in names] for each in items])
    elif items:
        columns = ("PATH", "SIZE", "BY", "CREATED")
        output.print_table(columns, [_row(each) for each in items], widest="PATH")
    else:
        output.note("it has no files")


def _row(file: dict[str, Any]) -> tuple[str, str, str, str]:
    from koco.cli.terminal import times

    return file["path"], _size(file["size_bytes"]), file["by"], times.ago(file["created"])


def _size(size_bytes: int) -> str:
    for bits, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes >= 1 << bits:
            return f"{size_bytes / (1 << bits):.1f} {unit}"
    return f"{size_bytes} B"
