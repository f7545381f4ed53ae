"""`koco store copy`: copy a store into a database, or back into a file."""

import asyncio
from pathlib import Path
from typing import Annotated

from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.errors import UsageError
from koco.plurals import counted
from koco.store import address


def command(
    source: Annotated[
        str, Option("--from", metavar="FILE|URL", help="The store: its file or database.")
    ],
    target: Annotated[
        str,
        Option(
            "--to",
            metavar="FILE|URL",
            help="A new file, or an empty database.",
        ),
    ],
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Copy a store into a database of PostgreSQL, or back into a file.

    Stop the control plane first, with `koco down`. If the copy is interrupted, the same command
    goes on with it. At the end, all rows are compared. `koco up --store URL` then starts with it.
    The files of executions stay in the data directory.

    Example: koco store copy --from ~/.koco/local/store.db --to postgresql://koco@db/koco
    """
    places = [address.place(each) for each in (source, target)]
    old = places[0]
    if isinstance(old, Path) and not old.is_file():
        raise UsageError(f"there is no store in {old}", hint="a file of a store is called store.db")
    # msgspec and the database, which only this command needs.
    from koco.store import transfer
    from koco.store.store import Store

    engines = [Store.at(each).engine for each in places]
    counts = asyncio.run(transfer.between(*engines))
    if as_json:
        output.print_json({"from": engines[0].location, "to": engines[1].location, "rows": counts})
        return
    output.note(f"{counted(counts['executions'], 'execution')}, {sum(counts.values()):,} rows")
    output.print_line(engines[1].location)
