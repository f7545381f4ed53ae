"""`koco context show`: show a context."""

import shlex
from typing import Annotated

from koco.cli import connection, contexts
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.client import context_file
from koco.client.context_file import Context
from koco.errors import UsageError


def command(
    name: Annotated[
        str | None,
        Argument(
            metavar="[NAME]",
            show_default=False,
            help="The context's name [default: the current one].",
        ),
    ] = None,
    check: Annotated[
        bool, Option("--check", help="Contact the control plane, and show its version.")
    ] = False,
    shell: Annotated[
        bool,
        Option("--shell", help="Print URL and key as variables of a shell, for `eval`."),
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the context as JSON.")] = False,
) -> None:
    """Show a context: URL, start of the key, whether it is current.

    With --shell the whole key is printed: for curl and other programs.

    Example: koco context show staging --check
    """
    if shell and (as_json or check):
        raise UsageError("--shell cannot be combined with --json or --check")
    choice = connection.choice()
    context = connection.context() if name is None else context_file.find(name)
    if shell:
        _print_variables(context)
        return
    shown = contexts.to_json(context, choice)
    if check:
        shown["version"] = contexts.fetch_version(context)
    if as_json:
        output.print_json(shown)
        return
    output.print_line(f"{'context':<14} {context.name}")
    output.print_line(f"{'url':<14} {context.url}")
    is_replaced = name is None and choice.by != "--context" and context_file.key_of_environment()
    source = ", from KOCO_KEY" if is_replaced else ""
    output.print_line(f"{'key':<14} {shown['key'] or 'none'}{source}")
    output.print_line(f"{'current':<14} {choice.said_by if shown['current'] else 'no'}")
    if check:
        output.print_line(f"{'control plane':<14} {shown['version']}")


def _print_variables(context: Context) -> None:
    """Print what sh, bash, zsh and fish can evaluate."""
    output.print_line(f"export KOCO_URL={shlex.quote(context.url)}")
    output.print_line(f"export KOCO_KEY={shlex.quote(context.key)}")  # '' counts as not set
    if context.ca:
        output.print_line(f"export CURL_CA_BUNDLE={shlex.quote(context.ca)}")
