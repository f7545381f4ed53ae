"""`koco schema`: what editors complete manifests with."""

from typing import Annotated

import typer


def command(
    koco_toml: Annotated[
        bool, typer.Option("--koco-toml", help="Print the schema of koco.toml instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of manifests, for editors to check and complete them.

    Example: koco schema > koco.schema.json
    """
    from koco.cli import output

    if koco_toml:
        from koco.project import json_schema
    else:
        from koco.manifest.schema import json_schema
    output.print_json(json_schema())
