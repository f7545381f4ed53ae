"""`koco.schema.json`, with which an editor checks and completes the manifest beside it.

It is a file of the project, and no URL, so that it belongs to the installed koco and needs no
network.
"""

import json
from collections.abc import Iterable
from pathlib import Path

#: The schema's path in a project. It is never shipped (`koco.project.file_tree`).
PATH = Path("koco.schema.json")

#: The first line of a manifest, as the YAML language server reads it.
LINE = f"# yaml-language-server: $schema={PATH}"


def is_wanted(manifests: Iterable[bytes]) -> bool:
    """Return whether one of the manifests names the schema."""
    return any(LINE.encode() in each for each in manifests)


def content() -> bytes:
    """Return the schema of this koco's manifests."""
    from koco.manifest.schema import json_schema  # pydantic

    return f"{json.dumps(json_schema(), ensure_ascii=False, indent=1)}\n".encode()
