"""`koco delete`: delete executions permanently."""

from typing import Annotated

import typer

from koco.cli import connection, selection
from koco.cli.inputs import prompt
from koco.cli.terminal import output
from koco.client.answers import Execution
from koco.client.client import Client
from koco.errors import ConflictError
from koco.events.model import FINAL


def command(
    fids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FID…]",
            help="The executions: fids, or unique starts of them.",
            show_default=False,
        ),
    ] = None,
    status: selection.Status = None,
    flow: selection.Flow = None,
    service: selection.Service = None,
    user: selection.User = None,
    tag: selection.Tag = None,
    since: selection.Since = None,
    until: selection.Until = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Delete ended executions, with their events, files and locks.

    This cannot be undone. Give fids, or filters: then all ended executions that match are
    deleted. If one of the named executions has not ended, none is deleted.

    Example: koco delete 5wzk 8q2m --yes
    """
    filters = selection.read_filters(status, flow, service, user, tag, since, until)
    selection.require_one(fids or (), filters)
    client = connection.connect()
    if filters is not None:
        _delete_matching(client, filters, yes=yes, as_json=as_json)
        return
    # Look up all of them before any is deleted.
    found = list({each["fid"]: each for each in map(client.execution, fids or ())}.values())
    _require_ended(found)
    if not yes:
        names = found[0]["fid"] if len(found) == 1 else f"{len(found)} executions"
        _confirm(names, as_json=as_json)
    for execution in found:
        client.delete(execution["fid"])
        if not as_json:
            output.print_line(f"{execution['fid']}\tdeleted")
    if as_json:
        output.print_items([{"fid": each["fid"], "deleted": True} for each in found])


def _delete_matching(
    client: Client, filters: selection.Filters, *, yes: bool, as_json: bool
) -> None:
    if not yes:
        names = selection.count(client, filters, sorted(FINAL))
        if not names:
            output.note("no ended execution matches; nothing was deleted")
            return
        _confirm(names, as_json=as_json)
    deleted: list[str] = []
    for piece in selection.pieces(client.delete_all, filters):
        for fid in piece["deleted"]:
            deleted.append(fid)
            if not as_json:
                output.print_line(f"{fid}\tdeleted")
    if as_json:
        output.print_items([{"fid": fid, "deleted": True} for fid in deleted])
    elif not deleted:
        output.note("no ended execution matches; nothing was deleted")


def _confirm(names: str, *, as_json: bool) -> None:
    prompt.confirm(
        f"Delete {names} permanently, with events and files?",
        action=f"delete {names} permanently",
        unchanged="nothing was deleted",
        as_json=as_json,
    )


def _require_ended(found: list[Execution]) -> None:
    for each in found:
        if each["status"] not in FINAL:
            raise ConflictError(
                f"execution {each['fid']} has not ended: it is {each['status']}",
                hint=f"`koco cancel {each['fid']} --wait` ends it",
            )
