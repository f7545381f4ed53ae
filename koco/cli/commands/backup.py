"""`koco backup`: write a backup of a running control plane."""

import os
import secrets
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.client.client import Client
from koco.disk_sync import sync
from koco.errors import ConflictError, OutputError, UsageError
from koco.plurals import counted
from koco.sizes import format_size


def command(
    file: Annotated[Path, Argument(metavar="FILE", help="The file to write.")],
    force: Annotated[bool, Option("--force", help="Replace an existing file.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a backup of a running control plane to a file.

    It has the store, all files, bundles and secrets, of one moment. `koco up --restore` starts
    a control plane from it. The file appears only when it is complete and checked. It contains
    every secret in readable form, so its mode is 0600.

    Example: koco backup koco.backup
    """
    if file.exists() and not force:
        raise ConflictError(f"{file} exists already", hint="`--force` replaces it")
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    client = connection.connect()
    try:
        _receive(client, part, file.name)
        # msgspec and tarfile, which only the end of a backup needs.
        from koco.control.backup import archive

        head = archive.read(part)
        part.replace(file)
        sync(file.absolute().parent)
    except OSError as exc:
        if output.unwritten(exc):
            what = f"{file} has no room: {exc.strerror}; nothing was written"
            raise OutputError(what, hint="make room, or write elsewhere") from exc
        raise UsageError(f"{file} cannot be written: {exc.strerror}") from exc
    finally:
        part.unlink(missing_ok=True)
    size_bytes = file.stat().st_size
    if as_json:
        told = {"file": str(file), "size_bytes": size_bytes, "blobs": head.blobs}
        output.print_json({**told, "created": head.created, "version": head.koco})
        return
    output.note(f"{format_size(size_bytes)} with {counted(head.blobs, 'file')}; keep it secret")
    output.print_line(str(file))


def _receive(client: Client, part: Path, name: str) -> None:
    """Write a backup to a new file, and show a bar at a terminal."""
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        pieces = client.backup()
        start, total_bytes = _begin(pieces, name)
        with output.progress(name, total_bytes) as advance:
            for piece in chain([start], pieces):
                out.write(piece)
                advance(len(piece))
        out.flush()
        os.fsync(out.fileno())


def _begin(pieces: Iterator[bytes], name: str) -> tuple[bytes, int | None]:
    """Return the start of a backup, and its size if somebody looks and it is known."""
    line = output.StatusLine()
    line.show(f"{name}: the control plane copies its store")
    try:
        start = next(pieces, b"")
        if not output.is_terminal(sys.stderr):
            return start, None
        from koco.control.backup import archive  # msgspec and tarfile

        while (total_bytes := archive.announced(start)) is None and (piece := next(pieces, b"")):
            start += piece
        return start, total_bytes or None
    finally:
        line.clear()
