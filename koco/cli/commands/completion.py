"""`koco completion`: print a shell's script for completions."""

from enum import StrEnum
from typing import Annotated

from koco.cli.parameters import Argument
from koco.cli.shells import SCRIPTS
from koco.cli.terminal import output


class Shell(StrEnum):
    """The shells that have a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def command(
    shell: Annotated[Shell, Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print a script that completes commands in your shell.

    Tab then offers commands, options, flows, fids, services and contexts. For bash and zsh, write
    `eval "$(koco completion bash)"` into ~/.bashrc; for fish, `koco completion fish | source`.

    Example: koco completion bash
    """
    output.print_line(SCRIPTS[shell].rstrip("\n"))
