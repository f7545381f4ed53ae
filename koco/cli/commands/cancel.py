"""`koco cancel`: cancel executions."""

from functools import partial
from typing import Annotated

from koco.cli import connection, selection
from koco.cli.many import actions
from koco.cli.parameters import Option
from koco.cli.terminal import event_view, output
from koco.client.answers import Execution
from koco.client.client import Client
from koco.events.model import FINAL, OPEN

#: With filters, an execution that has ended meanwhile is as it should be.
_MATCHING = actions.Action(
    "cancel",
    "cancelled",
    statuses=OPEN,
    which="execution that has not ended",
    shown="cancelling",
    harmless=frozenset({"conflict", "not_found"}),
)
_NAMED = _MATCHING._replace(harmless=frozenset())


def command(
    fids: selection.Fids = None,
    status: selection.Status = None,
    flow: selection.Flow = None,
    service: selection.Service = None,
    user: selection.User = None,
    tag: selection.Tag = None,
    since: selection.Since = None,
    until: selection.Until = None,
    parent: selection.Parent = None,
    search: selection.Search = None,
    grace: Annotated[
        float,
        Option(metavar="SECONDS", min=0, help="How long it may take to end before it is killed."),
    ] = 5.0,
    wait: Annotated[bool, Option("--wait", help="Wait until they have ended.")] = False,
    yes: Annotated[
        bool, Option("--yes", "-y", help="With filters: cancel without asking.")
    ] = False,
    as_json: Annotated[
        bool, Option("--json", help="Print JSON: the execution, or a line for each of many.")
    ] = False,
) -> int:
    """Cancel executions.

    Their tasks are cancelled as asyncio does it, and a process is killed if it has not ended
    after the grace period. With --wait, the exit code is 0 once they have ended, whatever their
    final statuses. Prints each fid. With filters, all executions that match and have not ended
    are cancelled. One that is refused does not stop the others; the exit code is then not 0.

    Example: koco cancel 5wzk --grace 30 --wait
    """
    filters = selection.read_filters(
        status, flow, service, user, tag, since, until, search=search, parent=parent
    )
    selection.require_one(fids or (), filters)
    client = connection.connect()
    names = list(dict.fromkeys(fids or ()))
    if filters is None and len(names) == 1:
        _cancel_one(client, names[0], grace, wait=wait, as_json=as_json)
        return 0
    action = _MATCHING if filters else _NAMED
    if filters and not actions.confirm(client, action, filters, yes=yes, as_json=as_json):
        return 0
    ask = partial(client.cancel_all, grace_s=grace)
    outcomes = actions.act(ask, action, filters or names)
    if wait:
        outcomes = iter(list(outcomes))
        outcomes = (each if each.code else _ended(client, each) for each in outcomes)
    count, code = actions.report(outcomes, action, as_json=as_json)
    if not wait and not as_json:
        output.note(f"{count} asked to end; `koco wait FID…` waits for the end")
    return code


def _cancel_one(client: Client, fid: str, grace_s: float, *, wait: bool, as_json: bool) -> None:
    found = client.cancel(fid, grace_s=grace_s)
    found = _wait(client, found["fid"]) if wait else found
    if as_json:
        output.print_json(found)
        return
    output.print_line(f"{found['fid']}\t{found['status']}")
    if found["status"] not in FINAL:
        output.note(f"it has {grace_s:g} s to end before it is killed")


def _ended(client: Client, each: actions.Outcome) -> actions.Outcome:
    return each._replace(status=_wait(client, each.fid)["status"])


def _wait(client: Client, fid: str) -> Execution:
    """Wait until an execution has ended, and return it."""
    event_view.follow(client.stream(fid, kinds=("status",), follow=True), None)
    return client.execution(fid)
