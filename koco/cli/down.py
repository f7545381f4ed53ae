"""`koco down`: stop what `koco up` started."""

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Stop what `koco up` started.

    Nothing else is touched, and the store stays. Executions that run are ended
    with it; the next `koco up` settles them.

    Example: koco down
    """
    from koco.cli import local, output

    result = local.down()
    if as_json:
        output.print_json(result)
    elif result["ended"]:
        output.note(f"stopped {result['what']} ({result['ended']} processes); the store stays")
    else:
        output.note("nothing runs that `koco up` started")
