"""Arguments that several commands share."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from koco.client.client import Client

#: The execution to look at; `-` stands for the latest.
Fid = Annotated[
    str,
    typer.Argument(
        metavar="[FID]",
        show_default=False,
        help="Its fid, a unique prefix, or SERVICE/FLOW; the latest if left out.",
    ),
]


def meant(client: "Client", given: str) -> str:
    """Return the id of the execution to look at; for SERVICE/FLOW that of its latest one.

    Commands that change an execution do not use this, because the latest may be somebody else's.

    Raises:
        NotFoundError: that flow has none.
    """
    return client.latest(given) if "/" in given else given
