"""What several commands take alike."""

from typing import Annotated

import typer

#: Which execution is meant; `-` stands for the latest.
Fid = Annotated[
    str,
    typer.Argument(
        metavar="[FID]",
        show_default=False,
        help="Its fid or a unique prefix; the latest if left out.",
    ),
]
