"""`koco delete`: delete executions permanently."""

from typing import Annotated

import typer

from koco.cli import connection
from koco.cli.inputs import prompt
from koco.cli.terminal import output
from koco.client.answers import Execution
from koco.errors import ConflictError
from koco.events.model import FINAL


def command(
    fids: Annotated[
        list[str],
        typer.Argument(metavar="FID…", help="The executions: fids, or unique starts of them."),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Delete ended executions, with their events, files and locks.

    This cannot be undone. If one of them has not ended, none is deleted.

    Example: koco delete 5wzk 8q2m --yes
    """
    client = connection.connect()
    # Look up all of them before any is deleted.
    found = list({each["fid"]: each for each in map(client.execution, fids)}.values())
    _require_ended(found)
    if not yes:
        names = found[0]["fid"] if len(found) == 1 else f"{len(found)} executions"
        prompt.confirm(
            f"Delete {names} permanently, with events and files?",
            action=f"delete {names} permanently",
            unchanged="nothing was deleted",
            as_json=as_json,
        )
    for execution in found:
        client.delete(execution["fid"])
        if not as_json:
            output.print_line(f"{execution['fid']}\tdeleted")
    if as_json:
        output.print_items([{"fid": each["fid"], "deleted": True} for each in found])


def _require_ended(found: list[Execution]) -> None:
    for each in found:
        if each["status"] not in FINAL:
            raise ConflictError(
                f"execution {each['fid']} has not ended: it is {each['status']}",
                hint=f"`koco cancel {each['fid']} --wait` ends it",
            )
