"""`koco retry`: launch an ended execution again."""

from koco.cli import connection
from koco.cli.arguments import OneFid
from koco.cli.commands import run
from koco.cli.commands.run import Follow, Json, Key, Timeout, Wait


def command(
    fid: OneFid,
    follow: Follow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Launch an ended execution again, and print the fid of the new one.

    The new execution has the same inputs, files and tags, and runs on the release that is
    live now. With --follow or --wait the exit code is the outcome, as with `koco run`.

    Example: koco retry 5wzk --follow
    """
    run.check(follow=follow, wait=wait, timeout=timeout)
    client = connection.connect()
    execution = client.retry(fid, key=key)
    return run.show_launched(
        client, execution["fid"], follow=follow, wait=wait, timeout=timeout, as_json=as_json
    )
