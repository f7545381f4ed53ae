"""`koco rollback`: a release that is as a former one was."""

from typing import Annotated

import typer


def command(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The service's name.")],
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="[N]", min=1, help="The release to go back to; the last one that served before."
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until the release is live.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Wait no longer than that; the rollback goes on."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each step as one line of JSON.")
    ] = False,
) -> None:
    """Go back to a former release: a new one with its code and its settings.

    It goes live as a deploy does, once a runner of it has imported every entrypoint;
    until then, and for good if it fails (exit code 5), what is live serves.

    Example: koco rollback hello 7
    """
    from koco.cli import connection
    from koco.cli.deploy import ship, wait_live
    from koco.cli.terminal import ndjson, times

    times.check(timeout)
    with ndjson.ending(as_json):
        client = connection.connect()
        report = ship.Report(as_json)
        if number is None:
            number = client.service(service)["former"]
        begun = client.roll_back(service, number, timeout_s=ship.allowed(timeout))
        ship.begun(begun, report, f"as release {begun['origin'].get('rollback_of', number)}")
        awaited = ship.leave([begun], report) if no_wait else [begun]
        wait_live.settle(client, awaited, report, timeout_s=timeout)
