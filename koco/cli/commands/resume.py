"""`koco resume`: launch ended executions again, after their recorded steps."""

from enum import StrEnum
from functools import partial
from typing import Annotated

from koco.cli import connection, selection
from koco.cli.commands import run
from koco.cli.commands.run import Follow, Timeout, Wait
from koco.cli.many import repeats
from koco.cli.many.following import Following
from koco.cli.parameters import Option


class Which(StrEnum):
    """The releases that an execution can resume on."""

    OWN = "own"
    LIVE = "live"


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
    step: Annotated[
        str | None,
        Option(
            "--from",
            metavar="STEP",
            show_default=False,
            help="The first step that runs again: its key, or its name [default: the failed one].",
        ),
    ] = None,
    release: Annotated[
        Which, Option(help="Run on the execution's own release or on the live one.")
    ] = Which.OWN,
    again: repeats.Again = False,
    follow: Follow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    key: repeats.Key = None,
    yes: repeats.Yes = False,
    as_json: repeats.Json = False,
) -> int:
    """Launch ended executions again, keeping their recorded steps.

    A new execution has the same inputs, files and tags, and the recorded steps before STEP.
    `koco steps FID` lists them. A step that runs again has the same `tracer.step_key` as before, so
    services that keep idempotency keys do not repeat an effect that went through.

    Prints the fids of the new ones. With --follow or --wait the exit code is the outcome, as with
    `koco run`. Filters and --again work as with `koco retry`.

    Example: koco resume 5wzk --from summarise --release live --follow
    """
    filters = selection.read_filters(
        status, flow, service, user, tag, since, until, search=search, parent=parent
    )
    run.check(follow=follow, wait=wait, timeout=timeout)
    fid = repeats.only_one(fids, filters)
    client, is_live = connection.connect(), release is Which.LIVE
    if fid is None:
        return repeats.repeat_many(
            client,
            partial(client.resume_all, step=step, is_live=is_live),
            repeats.RESUME,
            filters or fids or (),
            following=Following(follow, wait, timeout),
            key=key,
            again=again,
            yes=yes,
            as_json=as_json,
        )
    execution = client.resume(fid, step=step, is_live=is_live, key=key)
    return run.show_launched(
        client, execution["fid"], follow=follow, wait=wait, timeout=timeout, as_json=as_json
    )
