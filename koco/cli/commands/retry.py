"""`koco retry`: launch again what an execution was."""

from typing import Annotated

import typer

from koco.cli.commands.run import Follow, Json, Key, Timeout, Wait


def command(
    fid: Annotated[
        str, typer.Argument(metavar="FID", help="The execution: its fid or a unique prefix.")
    ],
    follow: Follow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Launch again what an execution that has ended was; print the new execution's fid.

    With the same inputs, also those that are not shown, files and tags, on the release of
    its flow that is live now. With --follow or --wait the exit code is the outcome, as
    with `koco run`.

    Example: koco retry 5wzk --follow
    """
    from koco.cli import connection
    from koco.cli.commands import run

    run.check(follow=follow, wait=wait, timeout=timeout)
    client = connection.connect()
    execution = client.retry(fid, key=key)
    return run.launched(
        client, execution["fid"], follow=follow, wait=wait, timeout=timeout, as_json=as_json
    )
