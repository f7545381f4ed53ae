"""Files among inputs: a `pathlib.Path` is uploaded, and the flow gets the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from koco.client import local_files
from koco.client.client import Client
from koco.errors import UsageError


def resolve(client: Client, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Upload the paths among inputs, also those in lists; return the inputs with references.

    A folder becomes a list of its files. All else is left as it is.

    Raises:
        NotFoundError: there is no such file or folder.
        UsageError: a file cannot be read.
    """
    return {name: _resolved(client, value) for name, value in inputs.items()}


def _resolved(client: Client, value: Any) -> Any:
    if isinstance(value, Path):
        sent = [_send(client, file) for file in local_files.find(value)]
        return sent if value.is_dir() else sent[0]
    if isinstance(value, list | tuple):
        found: list[Any] = []
        for each in value:
            resolved = _resolved(client, each)
            is_folder = isinstance(each, Path) and isinstance(resolved, list)
            found += resolved if is_folder else [resolved]
        return found
    return value


def _send(client: Client, file: local_files.LocalFile) -> dict[str, Any]:
    try:
        sha256 = local_files.digest(file.path)
        client.files.upload(file.path, sha256, size_bytes=file.size_bytes)
    except OSError as exc:
        raise UsageError(f"cannot read {exc.filename}: {exc.strerror}") from exc
    return {"$file": {"name": file.name, "sha256": sha256}}
