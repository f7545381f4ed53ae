"""`koco files get`: download an execution's files."""

import os
import sys
from pathlib import Path
from typing import Annotated

from koco import file_paths
from koco.cli import arguments, connection
from koco.cli.arguments import OneFid
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.client import downloads
from koco.client.client import Client
from koco.client.downloads import Target
from koco.errors import ConflictError, UsageError

#: The value of `--to` for standard output.
STDOUT = "-"


def command(
    fid: OneFid,
    given: Annotated[
        list[str],
        Argument(metavar="PATH...", help="Files, or folders with everything in them."),
    ],
    to: Annotated[
        str,
        Option("--to", metavar="DIR", help="The local folder; - writes one file to stdout."),
    ] = ".",
    force: Annotated[bool, Option("--force", help="Replace existing files.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the files as JSON.")] = False,
) -> None:
    """Download an execution's files.

    Files and folders keep their names. A file appears only when it is complete and verified,
    and an interrupted download resumes. Prints the local paths.

    Example: koco files get 5wzk out/result.csv
    """
    places = [file_paths.place(each) for each in given]
    client = connection.connect()
    whole = client.execution(arguments.resolve_fid(client, fid))["fid"]
    if to == STDOUT:
        _write_to_stdout(client, whole, places, as_json=as_json)
        return
    targets = [
        target
        for place in places
        for target in downloads.targets(client.files.ls(whole, place), place, Path(to))
    ]
    _require_free(targets, force=force)
    _fetch(client, whole, targets, Path(to))
    if as_json:
        items = [{**file, "local": str(local)} for file, local in targets]
        output.print_items(items)
        return
    for _, local in targets:
        output.print_line(str(local))


def _write_to_stdout(client: Client, fid: str, places: list[str], *, as_json: bool) -> None:
    if as_json:
        raise UsageError("--json and --to - exclude each other: both write to stdout")
    files = [file for place in places for file in client.files.ls(fid, place)]
    if len(places) != 1 or [file["path"] for file in files] != places:
        raise UsageError("--to - takes one file", hint="`koco files ls` lists them")
    for piece in client.files.read(fid, files[0]):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _require_free(targets: list[Target], *, force: bool) -> None:
    seen: set[Path] = set()
    for file, local in targets:
        if local in seen:
            what = f"{file['path']} and another would both be {local}"
            raise ConflictError(what, hint="download them one by one, with different --to folders")
        seen.add(local)
        if local.is_dir() and not local.is_symlink():
            raise ConflictError(f"{local} is a folder")
        if os.path.lexists(local) and not force:
            raise ConflictError(f"{local} already exists", hint="--force replaces it")


def _fetch(client: Client, fid: str, targets: list[Target], folder: Path) -> None:
    total = sum(file["size_bytes"] for file, _ in targets)
    label = targets[0][1].name if len(targets) == 1 else f"{len(targets)} files"
    with output.progress(f"downloading {label}", total) as advance:
        for file, local in targets:
            downloads.make_folder(local.parent, folder)
            try:
                client.files.fetch(fid, file, local, advance=advance)
            except OSError as exc:
                what = f"cannot write {exc.filename or local}: {exc.strerror}"
                raise output.unwritten(exc, what) or UsageError(what) from exc
