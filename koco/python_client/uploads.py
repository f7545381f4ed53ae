"""Values among inputs that JSON does not have.

A `pathlib.Path` is uploaded, and the flow gets the file. Dates and the like become the texts that
forms read.
"""

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from koco.client import local_files
from koco.client.client import Client
from koco.errors import UsageError


def resolve(client: Client, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Upload the paths among inputs, also those in lists; return the inputs with references.

    A folder becomes a list of its files. Other values are made JSON: see `plain`.

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
    return plain(value)


def plain(value: Any) -> Any:
    """Return a value with dates, times, enums, decimals and UUIDs as JSON; the rest as it is."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _send(client: Client, file: local_files.LocalFile) -> dict[str, Any]:
    try:
        sha256 = local_files.digest(file.path)
        client.files.upload(file.path, sha256, size_bytes=file.size_bytes)
    except OSError as exc:
        raise UsageError(f"cannot read {exc.filename}: {exc.strerror}") from exc
    return {"$file": {"name": file.name, "sha256": sha256}}
