"""`koco validate`: check manifests without a control plane."""

import os
from typing import Annotated, Any

from koco.cli import connection
from koco.cli.arguments import Env, EnvFiles
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.errors import ManifestError
from koco.manifest import key_literals, load, variables
from koco.manifest.load import display_path
from koco.project import project
from koco.project.project import Target


def command(
    manifests: Annotated[
        list[str] | None,
        Argument(
            metavar="[MANIFEST]...",
            help="Manifests, or folders with manifests [default: the project's].",
        ),
    ] = None,
    env: Env = None,
    env_file: EnvFiles = None,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check manifests and koco.toml without contacting a control plane.

    Also checks that the entrypoints' files would be shipped. All problems are reported at
    once as file:line:column, with exit code 2.

    Example: koco validate
    """
    connection.choose_environment(env)
    found = project.in_environment(
        project.targets(manifests or []), connection.environment(), env_files=env_file or ()
    )
    valid, problems = project.check(found)
    for target in valid:
        _warn(target)
    if as_json:
        output.print_items([_item(target) for target in valid])
    else:
        for target in valid:
            output.print_line("  ".join(_columns(target)))
    if problems:
        raise ManifestError(problems)


def _warn(target: Target) -> None:
    """Report on stderr what is allowed here but may fail in a deploy."""
    environ = target.environment.environ(os.environ)
    for name, value in target.manifest.runtime.env.items():
        for unset in (each for each in variables.required_names(value) if each not in environ):
            [line] = target.problem(("runtime", "env", name), f"${{{unset}}} is not set here")
            output.note(f"note: {line}")
    for line in target.notes():
        output.note(f"note: {line}")
    for each in key_literals.find_problems(load.to_data(target.manifest)):
        [line] = target.problem(each.path, each.message, each.hint)
        output.note(f"warning: {line}")


def _item(target: Target) -> dict[str, Any]:
    flows = [flow.name for flow in target.manifest.flows]
    return {
        "path": str(target.manifest_path),
        "service": target.manifest.service,
        "flows": flows,
        "app": target.manifest.app,
    }


def _columns(target: Target) -> tuple[str, str, str]:
    manifest = target.manifest
    flows = [flow.name for flow in manifest.flows]
    # The flows of an app are only known once it is imported.
    app = [f"the flows of {manifest.app}"] if manifest.app else []
    return display_path(target.manifest_path), manifest.service, ", ".join([*flows, *app])
