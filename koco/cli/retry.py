"""`koco retry`: launch again what an execution was."""

from typing import Annotated

import typer


def command(
    fid: Annotated[
        str, typer.Argument(metavar="FID", help="The execution: its fid or a unique prefix.")
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show the events until it ends.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait silently until it ends.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="With --follow or --wait: wait no longer than that."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="An idempotency key: launched once, however often it is tried under it.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: the fid; with --follow, the events.")
    ] = False,
) -> int:
    """Launch again what an execution that has ended was; print the new execution's fid.

    With the same inputs, also those that are not shown, files and tags, on the release of
    its flow that is live now. With --follow or --wait the exit code is the outcome, as
    with `koco run`.

    Example: koco retry 5wzk --follow
    """
    from koco.cli import run, session

    run.check(follow=follow, wait=wait, timeout=timeout)
    client = session.connect()
    execution = client.retry(fid, key=key)
    return run.launched(
        client, execution["fid"], follow=follow, wait=wait, timeout=timeout, as_json=as_json
    )
