"""`koco deploy`: a new release of each service that changed."""

import os
from typing import Annotated

import typer


def command(
    manifests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MANIFEST…]", help="The manifests to deploy; those of koco.toml if left out."
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until the release is live.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Wait no longer than that; the deploy goes on."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each step as one line of JSON.")
    ] = False,
) -> None:
    """Deploy services: bundle, upload, release, and wait until it is live.

    A release goes live once a runner of it has imported every entrypoint. Until
    then, and for good if it fails (exit code 5), the former one serves.

    Example: koco deploy koco.yaml --timeout 300
    """
    from koco.cli import clock, lines

    clock.check(timeout)
    with lines.ending(as_json):
        _deploy(manifests or [], no_wait=no_wait, timeout=timeout, as_json=as_json)


def _deploy(manifests: list[str], *, no_wait: bool, timeout: float | None, as_json: bool) -> None:
    from koco import project
    from koco.cli import session, shipping
    from koco.errors import ManifestError

    targets, problems = project.check(project.targets(manifests), environ=os.environ)
    if problems:
        raise ManifestError(problems)
    if timeout is None:
        timeout = next((each.project.timeout_s for each in targets if each.project), None)
    client = session.connect()
    report = shipping.Report(as_json)
    releases = shipping.ship(client, targets, report, timeout_s=timeout)
    if no_wait:
        shipping.leave(releases, report)
    else:
        shipping.settle(client, releases, report, timeout_s=timeout)
