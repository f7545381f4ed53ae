"""`koco plan`: show what a deploy would change."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from koco.cli import connection
from koco.cli.arguments import Contexts, Env, EnvFiles
from koco.cli.deploy import plan, plan_view
from koco.cli.exits import Exit
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output

if TYPE_CHECKING:
    from koco.project.project import Target


def command(
    manifests: Annotated[
        list[str] | None,
        Argument(
            metavar="[MANIFEST…]", help="The manifests to compare [default: those of koco.toml]."
        ),
    ] = None,
    prune: Annotated[
        bool,
        Option("--prune", help="Also this project's services that are no longer in a manifest."),
    ] = False,
    exit_code: Annotated[
        bool, Option("--exit-code", help="Exit with 10 if there is something to do.")
    ] = False,
    contexts: Contexts = None,
    env: Env = None,
    env_file: EnvFiles = None,
    verbose: Annotated[
        bool, Option("--verbose", "-v", help="List every file, however many there are.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the plan as JSON.")] = False,
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
    named = {"environment": env} if env else {}
    if contexts is not None:
        has_changes = _plan_several(
            contexts, targets, named, prune=prune, verbose=verbose, as_json=as_json
        )
        if exit_code and has_changes:
            raise Exit(plan.CHANGES)
        return
    client = connection.connect()
    planned = plan.make(client, targets, prune=prune)
    if as_json:
        output.print_json({**planned.answer, **named})
    else:
        if env:
            output.print_line(f"environment {env}, at {client.url}")
        plan_view.show(planned, sys.stdout, details=True, verbose=verbose)
    planned.check()
    if exit_code and not planned.is_empty:
        raise Exit(plan.CHANGES)


def _plan_several(
    contexts: str,
    targets: "Sequence[Target]",
    named: dict[str, str],
    *,
    prune: bool,
    verbose: bool,
    as_json: bool,
) -> bool:
    """Show the plans of several control planes; return whether there is something to do."""
    # A plan of one control plane needs none of this.
    from koco.cli.across import places, plans

    answers = plans.make(places.named(contexts), targets, prune=prune)
    if as_json:
        items = [
            {**each.to_json(), **(each.value.answer if each.value else {})} for each in answers
        ]
        output.print_json({"items": items, "next": None, **named})
    else:
        if named:
            output.print_line(f"environment {named['environment']}")
        plans.show(answers, sys.stdout, details=True, verbose=verbose)
    plans.check(answers)
    return not all(each.value is None or each.value.is_empty for each in answers)
