"""`koco deploy`: a new release of each service that changed."""

from typing import Annotated

import typer


def command(
    manifests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MANIFEST…]", help="The manifests to deploy; those of koco.toml if left out."
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove what of this project is live and in no manifest any more."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before something is removed.")
    ] = False,
    rollback_on_failure: Annotated[
        bool,
        typer.Option(
            "--rollback-on-failure/--no-rollback-on-failure",
            help="Whether what is live goes on serving where the new release fails.",
        ),
    ] = True,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until the release is live.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Wait no longer than that; the deploy goes on."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Name every file of what is new.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each step as one line of JSON.")
    ] = False,
) -> None:
    """Deploy services: plan, bundle, upload, release, and wait until it is live.

    Does what `koco plan` says, with the files as they are when they are read. Those that look
    like secrets, such as .env, are left out and named; runtime.include ships them. A release
    goes live once a runner of it has imported every entrypoint. Until then, and for good if it
    fails (exit code 5), the former one serves.

    Example: koco deploy koco.yaml --timeout 300
    """
    from koco.cli.terminal import ndjson, times

    times.check(timeout)
    with ndjson.ending(as_json):
        _deploy(
            manifests or [],
            prune=prune,
            yes=yes,
            fallback=rollback_on_failure,
            no_wait=no_wait,
            timeout=timeout,
            verbose=verbose,
            as_json=as_json,
        )


def _deploy(
    manifests: list[str],
    *,
    prune: bool,
    yes: bool,
    fallback: bool,
    no_wait: bool,
    timeout: float | None,
    verbose: bool,
    as_json: bool,
) -> None:
    from contextlib import ExitStack

    from koco.cli import connection
    from koco.cli.deploy import pack, ship, wait_live
    from koco.cli.deploy import plan as planning

    targets = planning.targets(manifests, prune=prune)
    if timeout is None:
        timeout = next((each.project.timeout_s for each in targets if each.project), None)
    client = connection.connect()
    report = ship.Report(as_json)
    plan = planning.make(client, targets, prune=prune)
    with ExitStack() as stack:
        plan, bundles = pack.pack(client, plan, stack)
        ship.tell(plan, report, verbose=verbose)
        plan.check()
        planning.confirm(plan, yes=yes, as_json=as_json)
        shipped = ship.ship(client, plan, bundles, report, timeout_s=timeout, fallback=fallback)
    awaited = ship.leave(shipped.releases, report) if no_wait else shipped.releases
    wait_live.settle(client, awaited, report, timeout_s=timeout)
    ship.check(shipped)
    ship.remove(client, plan, report)
