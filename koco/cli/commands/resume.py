"""`koco resume`: launch an ended execution again, after its recorded steps."""

from enum import StrEnum
from typing import Annotated

import typer

from koco.cli import connection
from koco.cli.arguments import OneFid
from koco.cli.commands import run
from koco.cli.commands.run import Follow, Json, Key, Timeout, Wait


class Which(StrEnum):
    """The releases that an execution can resume on."""

    OWN = "own"
    LIVE = "live"


def command(
    fid: OneFid,
    step: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STEP",
            show_default=False,
            help="The first step that runs again: its key, or its name [default: the failed one].",
        ),
    ] = None,
    release: Annotated[
        Which, typer.Option(help="Run on the execution's own release or on the live one.")
    ] = Which.OWN,
    follow: Follow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Launch an ended execution again, keeping its recorded steps.

    The new execution has the same inputs, files and tags, and the recorded steps before STEP.
    `koco steps FID` lists them. A step that runs again has the same `tracer.step_key` as before, so
    services that keep idempotency keys do not repeat an effect that went through.

    Prints the fid of the new one. With --follow or --wait the exit code is the outcome, as with
    `koco run`.

    Example: koco resume 5wzk --from summarise --release live --follow
    """
    run.check(follow=follow, wait=wait, timeout=timeout)
    client = connection.connect()
    execution = client.resume(fid, step=step, is_live=release is Which.LIVE, key=key)
    return run.show_launched(
        client, execution["fid"], follow=follow, wait=wait, timeout=timeout, as_json=as_json
    )
