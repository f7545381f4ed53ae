"""Arguments and options that several commands share."""

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
        help="The execution: its fid, or SERVICE/FLOW for its latest [default: latest of all].",
    ),
]


def resolve_fid(client: "Client", given: str) -> str:
    """Return the fid that an argument stands for: for SERVICE/FLOW, that of its latest execution.

    Commands that change an execution do not use this, because the latest may be somebody else's.

    Raises:
        NotFoundError: that flow has no execution.
    """
    return client.latest(given) if "/" in given else given
