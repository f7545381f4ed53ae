"""What several commands take alike."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from koco.client.client import Client

#: Which execution is looked at; `-` stands for the latest.
Fid = Annotated[
    str,
    typer.Argument(
        metavar="[FID]",
        show_default=False,
        help="Its fid, a unique prefix, or SERVICE/FLOW; the latest if left out.",
    ),
]


def meant(client: "Client", given: str) -> str:
    """Return what names an execution that is to be looked at: of SERVICE/FLOW its latest one.

    What changes an execution does not ask here: the latest may be somebody else's.

    Raises:
        NotFoundError: that flow has none.
    """
    return client.latest(given) if "/" in given else given
