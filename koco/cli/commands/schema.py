"""`koco schema`: JSON Schemas of manifests, for editors, and of event streams, for programs."""

from enum import StrEnum
from typing import Annotated

import typer


class What(StrEnum):
    """What there is a schema of."""

    MANIFEST = "manifest"
    STREAM = "stream"


def command(
    what: Annotated[
        What,
        typer.Argument(
            metavar="[WHAT]",
            show_default=False,
            help="manifest (if left out), or stream: the lines that --json writes.",
        ),
    ] = What.MANIFEST,
    koco_toml: Annotated[
        bool, typer.Option("--koco-toml", help="Print the schema of koco.toml instead.")
    ] = False,
) -> None:
    """Print a JSON Schema: of manifests, for editors, or of streams, for programs.

    Example: koco schema > koco.schema.json
    """
    from koco.cli.terminal import output

    if koco_toml:
        from koco.project.config_file import json_schema
    elif what is What.STREAM:
        from koco.events.schema import json_schema
    else:
        from koco.manifest.schema import json_schema
    output.print_json(json_schema())
