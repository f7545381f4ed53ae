"""`koco schedule trigger`: launch a schedule's flow now."""

from typing import Annotated

from koco.cli import connection
from koco.cli.commands import run
from koco.cli.commands.run import Follow, Json, Timeout, Wait
from koco.cli.many.repeats import Key
from koco.cli.parameters import Argument


def command(
    name: Annotated[
        str, Argument(metavar="SCHEDULE", help="The schedule's id, or a flow that has one.")
    ],
    follow: Follow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Launch a schedule's flow now, with its inputs, and print the fid.

    The execution is yours, and counts as the schedule's last run. A paused schedule can be
    triggered, too. With --follow or --wait the exit code is the outcome, as with `koco run`.

    Example: koco schedule trigger report/daily --follow
    """
    run.check(follow=follow, wait=wait, timeout=timeout)
    client = connection.connect()
    fid = client.trigger(name, key=key)
    return run.show_launched(
        client, fid, follow=follow, wait=wait, timeout=timeout, as_json=as_json
    )
