"""`koco secret unset`: forget a secret."""

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The secret.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also where live services have it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Forget a secret; refused while live services have it.

    Processes that have it keep it; with `--force`, no new ones of theirs start.

    Example: koco secret unset OPENAI_API_KEY
    """
    from koco.cli import connection
    from koco.cli.terminal import output

    answer = connection.connect().unset_secret(name, force=force)
    if as_json:
        output.print_json(answer)
        return
    output.print_line(f"{name}  unset")
