"""`koco cancel`: cancel executions."""

from typing import Annotated

import typer

from koco.cli import connection, selection
from koco.cli.inputs import prompt
from koco.cli.terminal import event_view, output
from koco.client.answers import Execution
from koco.client.client import Client
from koco.errors import UsageError
from koco.events.model import FINAL, OPEN


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
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="How long it may take to end before it is killed."
        ),
    ] = 5.0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With filters: cancel without asking.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the execution, or {items, next}, as JSON.")
    ] = False,
) -> int:
    """Cancel executions.

    Their tasks are cancelled as asyncio does it, and a process is killed if it has not ended
    after the grace period. With --wait, the exit code is 0 once they have ended, whatever their
    final statuses. Prints each fid and its status. With filters, all executions that match and
    have not ended are cancelled.

    Example: koco cancel 5wzk --grace 30 --wait
    """
    filters = selection.read_filters(status, flow, service, user, tag, since, until)
    selection.require_one(fids or (), filters)
    client = connection.connect()
    if filters is not None:
        if wait:
            raise UsageError("--wait needs fids", hint="`koco wait FID…` waits for executions")
        _cancel_matching(client, filters, grace, yes=yes, as_json=as_json)
        return 0
    found = [client.cancel(fid, grace_s=grace) for fid in dict.fromkeys(fids or ())]
    if wait:
        found = [_ended(client, each["fid"]) for each in found]
    if as_json:
        output.print_items(found) if len(found) > 1 else output.print_json(found[0])
        return 0
    for each in found:
        output.print_line(f"{each['fid']}\t{each['status']}")
    if left := [each for each in found if each["status"] not in FINAL]:
        has, is_ = ("it has", "it is") if len(left) == 1 else ("they have", "they are")
        output.note(f"{has} {grace:g} s to end before {is_} killed")
    return 0


def _ended(client: Client, fid: str) -> Execution:
    """Wait until an execution has ended, and return it."""
    event_view.follow(client.stream(fid, kinds=("status",), follow=True), None)
    return client.execution(fid)


def _cancel_matching(
    client: Client, filters: selection.Filters, grace_s: float, *, yes: bool, as_json: bool
) -> None:
    if not yes:
        names = selection.count(client, filters, OPEN)
        if not names:
            output.note("no execution that has not ended matches; nothing was cancelled")
            return
        prompt.confirm(
            f"Cancel {names}?",
            action=f"cancel {names}",
            unchanged="nothing was cancelled",
            as_json=as_json,
        )
    cancelled: list[str] = []
    for piece in selection.pieces(client.cancel_all, filters, grace_s=grace_s):
        for fid in piece["cancelled"]:
            cancelled.append(fid)
            if not as_json:
                output.print_line(fid)
    if as_json:
        output.print_items([{"fid": fid} for fid in cancelled])
    else:
        output.note(f"{len(cancelled)} asked to end; `koco wait FID…` waits for the end")
