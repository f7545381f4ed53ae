"""`koco schema`: print a JSON Schema, for editors or for programs."""

from enum import StrEnum
from typing import Annotated

from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


class What(StrEnum):
    """The schemas that an argument can name."""

    MANIFEST = "manifest"
    STREAM = "stream"


def command(
    what: Annotated[
        What,
        Argument(
            metavar="[WHAT]",
            show_default=False,
            help="manifest, or stream for the lines that --json writes [default: manifest].",
        ),
    ] = What.MANIFEST,
    koco_toml: Annotated[
        bool, Option("--koco-toml", help="Print the schema of koco.toml instead.")
    ] = False,
) -> None:
    """Print a JSON Schema of manifests, koco.toml or event streams.

    Editors check and complete manifests with it; programs rely on the schema of streams.

    Example: koco schema > koco.schema.json
    """
    # Each imports much that the others do not need.
    if koco_toml:
        from koco.project.config_file import json_schema  # pydantic
    elif what is What.STREAM:
        from koco.events.schema import json_schema  # msgspec
    else:
        from koco.manifest.schema import json_schema  # pydantic
    output.print_json(json_schema())
