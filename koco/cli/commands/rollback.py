"""`koco rollback`: make a release that repeats an earlier one."""

from typing import Annotated

from koco.cli import connection
from koco.cli.deploy import ship, wait_live
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import ndjson, times
from koco.client.answers import AnyRelease


def command(
    service: Annotated[str, Argument(metavar="SERVICE", help="The service's name.")],
    number: Annotated[
        int | None,
        Argument(
            metavar="[N]",
            min=1,
            help="The release to go back to [default: the one that was live before].",
        ),
    ] = None,
    no_wait: Annotated[
        bool, Option("--no-wait", help="Return as soon as the release has begun.")
    ] = False,
    timeout: Annotated[
        float | None,
        Option(metavar="SECONDS", help="Stop waiting after this time; the rollback goes on."),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print each step as one line of JSON.")] = False,
) -> None:
    """Go back to an earlier release of a service.

    This makes a new release with the code and settings of the earlier one. As with a deploy,
    it goes live when one of its runners has imported every entrypoint; until then the live
    release keeps serving, also if the new one fails (exit code 5).

    Example: koco rollback hello 7
    """
    times.check(timeout)
    with ndjson.ending(as_json):
        client = connection.connect()
        report = ship.Report(as_json)
        if number is None:
            number = client.service(service)["former"]
        begun = client.roll_back(service, number, timeout_s=ship.server_timeout_s(timeout))
        ship.report_begun(begun, report, f"as release {begun['origin'].get('rollback_of', number)}")
        awaited: list[AnyRelease] = [begun]
        awaited = ship.leave(awaited, report) if no_wait else awaited
        wait_live.settle(client, awaited, report, timeout_s=timeout)
