"""`koco files rm`: remove an execution's files."""

from typing import Annotated

from koco import file_paths
from koco.cli import connection
from koco.cli.arguments import OneFid
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    fid: OneFid,
    given: Annotated[
        list[str],
        Argument(metavar="PATH...", help="Files, or folders with everything in them."),
    ],
    as_json: Annotated[bool, Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """Remove files from an execution.

    This also works after it has ended. Prints the removed paths.

    Example: koco files rm 5wzk in/report.pdf
    """
    places = [file_paths.place(each) for each in given]
    client = connection.connect()
    whole = client.execution(fid)["fid"]
    items = [item for place in places for item in client.files.remove(whole, place)]
    if as_json:
        output.print_items(items)
        return
    for item in items:
        output.print_line(item["path"])
