"""`koco delete`: remove executions for good."""

from typing import Annotated, Any

import typer


def command(
    fids: Annotated[
        list[str],
        typer.Argument(metavar="FID…", help="The executions: fids or unique prefixes."),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Remove executions that have ended, with their events, files and locks.

    Nothing is removed where one of them has not ended. What is removed does not come back.

    Example: koco delete 5wzk 8q2m --yes
    """
    from koco.cli import connection
    from koco.cli.terminal import output

    client = connection.connect()
    # All of them are looked up before any is removed.
    found = list({each["fid"]: each for each in map(client.execution, fids)}.values())
    _require_ended(found)
    if not yes:
        _confirm(found, as_json=as_json)
    for execution in found:
        client.delete(execution["fid"])
        if not as_json:
            output.print_line(f"{execution['fid']}\tdeleted")
    if as_json:
        output.print_items([{"fid": each["fid"], "deleted": True} for each in found])


def _require_ended(found: list[dict[str, Any]]) -> None:
    from koco.cli.terminal import event_view
    from koco.errors import ConflictError

    for each in found:
        if each["status"] not in event_view.OUTCOMES:
            raise ConflictError(
                f"execution {each['fid']} has not ended: it is {each['status']}",
                hint=f"`koco cancel {each['fid']} --wait` ends it",
            )


def _confirm(found: list[dict[str, Any]], *, as_json: bool) -> None:
    """Ask whether to go on.

    Raises:
        UsageError: nobody can be asked, and `--yes` does not say so.
        Interrupted: the answer is no.
    """
    from koco.cli.inputs import prompt
    from koco.errors import Interrupted, UsageError

    what = found[0]["fid"] if len(found) == 1 else f"{len(found)} executions"
    if as_json or not prompt.can_ask(False):
        raise UsageError(
            f"this would delete {what} for good, and nobody is here to be asked",
            hint="--yes deletes without asking",
        )
    if not prompt.agrees(f"Delete {what} for good, with events and files?"):
        raise Interrupted("nothing was deleted")
