"""What a person runs next in a new project."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from koco.cli.terminal import output


def show(directory: Path, commands: Sequence[str], *, run: str | None) -> None:
    """Show the commands, from the way into the folder to a first run.

    `run` is what comes after `koco run`; without it, the last command lists the flows.
    """
    way = [f"cd {shlex.quote(str(directory))}"] if directory.resolve() != Path.cwd() else []
    last = f"koco run {run} -f" if run else "koco flows"
    output.note("next:")
    for step in (*way, *commands, last):
        output.note(f"  {step}")
