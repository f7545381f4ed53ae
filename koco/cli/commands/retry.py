"""`koco retry`: launch ended executions again."""

from koco.cli import connection, selection
from koco.cli.commands import run
from koco.cli.commands.run import Follow, Timeout, Wait
from koco.cli.many import repeats
from koco.cli.many.following import Following


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
    again: repeats.Again = False,
    follow: Follow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    key: repeats.Key = None,
    yes: repeats.Yes = False,
    as_json: repeats.Json = False,
) -> int:
    """Launch ended executions again, and print the fids of the new ones.

    A new execution has the same inputs, files and tags, and runs on the release that is live
    now. With --follow or --wait the exit code is the outcome, as with `koco run`, and of several
    the worst one. With filters, all failed executions that match are retried, or those with
    --status. Of several, those that were retried before are left out, except with --again.

    Example: koco retry --status error --since 24h --yes
    """
    filters = selection.read_filters(
        status, flow, service, user, tag, since, until, search=search, parent=parent
    )
    run.check(follow=follow, wait=wait, timeout=timeout)
    fid = repeats.only_one(fids, filters)
    client = connection.connect()
    if fid is None:
        return repeats.repeat_many(
            client,
            client.retry_all,
            repeats.RETRY,
            filters or fids or (),
            following=Following(follow, wait, timeout),
            key=key,
            again=again,
            yes=yes,
            as_json=as_json,
        )
    execution = client.retry(fid, key=key)
    return run.show_launched(
        client, execution["fid"], follow=follow, wait=wait, timeout=timeout, as_json=as_json
    )
