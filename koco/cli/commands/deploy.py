"""`koco deploy`: make a new release of each service that changed."""

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from koco.cli import connection
from koco.cli.arguments import Contexts, Env, EnvFiles
from koco.cli.deploy import pack, plan, ship, wait_live
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import ndjson, output, times


def command(
    manifests: Annotated[
        list[str] | None,
        Argument(
            metavar="[MANIFEST…]", help="The manifests to deploy [default: those of koco.toml]."
        ),
    ] = None,
    prune: Annotated[
        bool,
        Option(
            "--prune",
            help="Also undeploy this project's services that are no longer in a manifest.",
        ),
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Remove services without asking.")] = False,
    rollback_on_failure: Annotated[
        bool,
        Option(
            "--rollback-on-failure/--no-rollback-on-failure",
            help="Whether the live release keeps serving if the new one fails.",
        ),
    ] = True,
    no_wait: Annotated[
        bool, Option("--no-wait", help="Return as soon as the release has begun.")
    ] = False,
    timeout: Annotated[
        float | None,
        Option(metavar="SECONDS", help="Stop waiting after this time; the deploy goes on."),
    ] = None,
    contexts: Contexts = None,
    env: Env = None,
    env_file: EnvFiles = None,
    verbose: Annotated[
        bool, Option("--verbose", "-v", help="List every file of a new service.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print each step as one line of JSON.")] = False,
) -> None:
    """Deploy services, and wait until they are live.

    Carries out what `koco plan` shows. Files that look like secrets, such as .env, are left
    out and listed; runtime.include in the manifest ships them. A release goes live when one
    of its runners has imported every entrypoint. Until then the live release keeps serving,
    also if the new one fails (exit code 5).

    Example: koco deploy koco.yaml --timeout 300
    """
    times.check(timeout)
    with ndjson.ending(as_json):
        _deploy(
            manifests or [],
            contexts=contexts,
            env=env,
            env_files=env_file or [],
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
    contexts: str | None,
    env: str | None,
    env_files: list[Path],
    prune: bool,
    yes: bool,
    fallback: bool,
    no_wait: bool,
    timeout: float | None,
    verbose: bool,
    as_json: bool,
) -> None:
    connection.choose_environment(env)
    env = connection.environment()
    targets = plan.targets(manifests, prune=prune, env=env, env_files=env_files)
    if timeout is None:
        timeout = next((each.timeout_s for each in targets), None)
    if contexts is not None:
        # A deploy to one control plane needs none of this.
        from koco.cli.across import deploy, places

        options = {"--prune": prune, "--yes": yes, "--no-rollback-on-failure": not fallback}
        again = _again(manifests, contexts, env, env_files, options)
        wish = deploy.Wish(
            again=again,
            prune=prune,
            yes=yes,
            fallback=fallback,
            no_wait=no_wait,
            timeout_s=timeout,
            verbose=verbose,
            as_json=as_json,
            environment=env,
        )
        deploy.run(places.named(contexts), targets, wish)
        return
    client = connection.connect()
    if env and not as_json:
        output.note(f"environment {env}, at {client.url}")
    report = ship.Report(as_json)
    planned = plan.make(client, targets, prune=prune)
    with ExitStack() as stack:
        planned, bundles = pack.pack(client, planned, stack)
        ship.show_plan(planned, report, verbose=verbose)
        planned.check()
        plan.confirm(planned, yes=yes, as_json=as_json)
        shipped = ship.ship(client, planned, bundles, report, timeout_s=timeout, fallback=fallback)
    awaited = ship.leave(shipped.releases, report) if no_wait else shipped.releases
    wait_live.settle(client, awaited, report, timeout_s=timeout)
    ship.check(shipped)
    ship.remove(client, planned, report)


def _again(
    manifests: list[str],
    contexts: str,
    env: str | None,
    env_files: list[Path],
    options: dict[str, bool],
) -> str:
    """Return the command line of the same deploy."""
    words = ["koco", "deploy", *manifests, "--contexts", contexts]
    words += ["--env", env] if env else []
    words += [word for path in env_files for word in ("--env-file", str(path))]
    return shlex.join([*words, *(name for name, is_set in options.items() if is_set)])
