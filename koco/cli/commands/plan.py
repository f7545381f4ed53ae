"""`koco plan`: show what a deploy would change."""

import sys
from typing import Annotated

import typer

from koco.cli import connection
from koco.cli.arguments import Env, EnvFiles
from koco.cli.deploy import plan, plan_view
from koco.cli.terminal import output


def command(
    manifests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MANIFEST…]", help="The manifests to compare [default: those of koco.toml]."
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Also this project's services that are no longer in a manifest."
        ),
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 10 if there is something to do.")
    ] = False,
    env: Env = None,
    env_file: EnvFiles = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List every file, however many there are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show what `koco deploy` would change.

    Compares manifests and files with the live releases: services to create, to update (with
    the files and settings that differ) and, with --prune, to remove. Nothing is changed or
    uploaded. Files that look like secrets, such as .env, are left out and listed;
    runtime.include in the manifest ships them.

    Example: koco plan --exit-code
    """
    connection.choose_environment(env)
    env = connection.environment()
    targets = plan.targets(manifests or [], prune=prune, env=env, env_files=env_file or ())
    client = connection.connect()
    planned = plan.make(client, targets, prune=prune)
    if as_json:
        named = {"environment": env} if env else {}
        output.print_json({**planned.answer, **named})
    else:
        if env:
            output.print_line(f"environment {env}, at {client.url}")
        plan_view.show(planned, sys.stdout, details=True, verbose=verbose)
    planned.check()
    if exit_code and not planned.is_empty:
        raise typer.Exit(plan.CHANGES)
