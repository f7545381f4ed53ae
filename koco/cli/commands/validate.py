"""`koco validate`: check manifests without a cluster."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from koco.project.project import Target


def command(
    manifests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MANIFEST]...", help="Manifests, or folders of them [default: the project's]."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check manifests and koco.toml; nothing is sent anywhere.

    Also looks for the entrypoints' files among those that would be shipped. Every
    problem is told at once as file:line:column, and the exit code is 2 then.

    Example: koco validate
    """
    from koco.cli.terminal import output
    from koco.errors import ManifestError
    from koco.project import project

    valid, problems = project.check(project.targets(manifests or []))
    for target in valid:
        _note(target)
    if as_json:
        output.print_items([_item(target) for target in valid])
    else:
        for target in valid:
            output.print_line("  ".join(_columns(target)))
    if problems:
        raise ManifestError(problems)


def _note(target: "Target") -> None:
    """Tell on stderr what is no mistake here, and may be one for a deploy."""
    import os

    from koco.cli.terminal import output
    from koco.manifest import key_literals, load, variables

    for name, value in target.manifest.runtime.env.items():
        for unset in (each for each in variables.required_names(value) if each not in os.environ):
            told = target.problem(("runtime", "env", name), f"${{{unset}}} is not set here")
            output.note(f"note: {told[0]}")
    for line in target.notes():
        output.note(f"note: {line}")
    for each in key_literals.find_problems(load.to_data(target.manifest)):
        [line] = target.problem(each.path, each.message, each.hint)
        output.note(f"warning: {line}")


def _item(target: "Target") -> dict[str, Any]:
    flows = [flow.name for flow in target.manifest.flows]
    return {
        "path": str(target.manifest_path),
        "service": target.manifest.service,
        "flows": flows,
        "app": target.manifest.app,
    }


def _columns(target: "Target") -> tuple[str, str, str]:
    from koco.manifest.load import display_path

    manifest = target.manifest
    flows = [flow.name for flow in manifest.flows]
    # Its flows are known once it is imported.
    app = [f"the flows of {manifest.app}"] if manifest.app else []
    return display_path(target.manifest_path), manifest.service, ", ".join([*flows, *app])
