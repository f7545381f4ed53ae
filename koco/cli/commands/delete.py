"""`koco delete`: delete executions permanently."""

from typing import Annotated

from koco.cli import connection, selection
from koco.cli.inputs import prompt
from koco.cli.many import actions
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.client.answers import Execution
from koco.errors import ConflictError
from koco.events.model import FINAL

#: With filters, an execution that somebody else has deleted meanwhile is as it should be.
_MATCHING = actions.Action(
    "delete",
    "deleted",
    statuses=sorted(FINAL),
    which="ended execution",
    rest=" permanently, with events and files",
    harmless=frozenset({"not_found"}),
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
    until: Annotated[
        str | None,
        Option(
            "--until",
            "--before",
            "--older-than",
            metavar="TIME",
            help="Those created before then: 30d, yesterday, 14:30, or RFC 3339.",
        ),
    ] = None,
    parent: selection.Parent = None,
    search: selection.Search = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: Annotated[
        bool, Option("--json", help="Print a line of JSON for each execution.")
    ] = False,
) -> int:
    """Delete ended executions, with their events, files and locks.

    This cannot be undone. Give fids, or filters: then all ended executions that match are
    deleted. If one of the named executions has not ended, none is deleted.

    Example: koco delete 5wzk 8q2m --yes
    """
    filters = selection.read_filters(
        status, flow, service, user, tag, since, until, search=search, parent=parent
    )
    selection.require_one(fids or (), filters)
    client = connection.connect()
    if filters is not None:
        if not actions.confirm(client, _MATCHING, filters, yes=yes, as_json=as_json):
            return 0
        outcomes = actions.act(client.delete_all, _MATCHING, filters)
        count, code = actions.report(outcomes, _MATCHING, as_json=as_json)
        if not count and not as_json:
            output.note("no ended execution matches; nothing was deleted")
        return code
    # Look up all of them before any is deleted.
    found = list({each["fid"]: each for each in map(client.execution, fids or ())}.values())
    _require_ended(found)
    if not yes:
        names = found[0]["fid"] if len(found) == 1 else f"{len(found)} executions"
        prompt.confirm(
            f"Delete {names} permanently, with events and files?",
            action=f"delete {names} permanently",
            unchanged="nothing was deleted",
            as_json=as_json,
        )
    outcomes = actions.act(client.delete_all, _NAMED, [each["fid"] for each in found])
    return actions.report(outcomes, _NAMED, as_json=as_json)[1]


def _require_ended(found: list[Execution]) -> None:
    for each in found:
        if each["status"] not in FINAL:
            raise ConflictError(
                f"execution {each['fid']} has not ended: it is {each['status']}",
                hint=f"`koco cancel {each['fid']} --wait` ends it",
            )
