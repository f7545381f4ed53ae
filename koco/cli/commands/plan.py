"""`koco plan`: what a deploy would do."""

from typing import Annotated

import typer


def command(
    manifests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MANIFEST…]", help="The manifests to compare; those of koco.toml if left out."
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Also what of this project is live and in no manifest any more."
        ),
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 10 where there is something to do.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Name every file, however many there are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show what `koco deploy` would do; nothing is changed or uploaded.

    Compares manifests and files with what is live: what would be created, updated (which
    files and settings, from what to what) and, with --prune, removed. Files that look like
    secrets, such as .env, are left out and named; runtime.include ships them.

    Example: koco plan --exit-code
    """
    import sys

    from koco.cli import connection
    from koco.cli.deploy import plan as planning
    from koco.cli.deploy import plan_view
    from koco.cli.terminal import output

    chosen = planning.targets(manifests or [], prune=prune)
    plan = planning.make(connection.connect(), chosen, prune=prune)
    if as_json:
        output.print_json(plan.answer)
    else:
        plan_view.show(plan, sys.stdout, details=True, verbose=verbose)
    plan.check()
    if exit_code and not plan.is_empty:
        raise typer.Exit(planning.CHANGES)
