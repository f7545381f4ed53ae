"""`koco files get`: download an execution's files."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from koco.client.client import Client

#: The place that is standard output.
STDOUT = "-"

#: A file of the execution, and where it shall be.
Target = tuple[dict[str, Any], Path]


def command(
    fid: Annotated[str, typer.Argument(metavar="FID", help="The execution.")],
    given: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Files, or folders with all in them.")
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="DIR", help="Where to put them; - is stdout.")
    ] = ".",
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came as JSON.")] = False,
) -> None:
    """Download files of an execution, and print where they are.

    Each is put under its name, a folder with all below it. A file is there whole and
    verified or not at all; what was interrupted goes on where it ended.

    Example: koco files get 5wzk out/result.csv
    """
    from koco import file_paths
    from koco.cli import arguments, connection
    from koco.cli.terminal import output

    places = [file_paths.place(each) for each in given]
    client = connection.connect()
    whole = client.execution(arguments.meant(client, fid))["fid"]
    if to == STDOUT:
        _write(client, whole, places, as_json=as_json)
        return
    targets = [target for place in places for target in _targets(client, whole, place, Path(to))]
    _require_free(targets, force=force)
    _fetch(client, whole, targets, Path(to))
    if as_json:
        items = [{**file, "local": str(local)} for file, local in targets]
        output.print_items(items)
        return
    for _, local in targets:
        output.print_line(str(local))


def _write(client: "Client", fid: str, places: list[str], *, as_json: bool) -> None:
    from koco.errors import UsageError

    if as_json:
        raise UsageError("--json would stand among the content: leave it out with --to -")
    files = [file for place in places for file in client.files.ls(fid, place)]
    if len(places) != 1 or [file["path"] for file in files] != places:
        raise UsageError("--to - takes one file", hint="`koco files ls` lists them")
    for piece in client.files.read(fid, files[0]):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _targets(client: "Client", fid: str, place: str, folder: Path) -> list[Target]:
    """Return the files at or below a place, each with where it goes: below its own name."""
    from koco import file_paths
    from koco.errors import PathError

    above = place.rpartition("/")[0]
    found: list[Target] = []
    for file in client.files.ls(fid, place):
        # What a server calls a file is checked here once more: it becomes a local path.
        name = file_paths.path(file["path"])
        if not file_paths.is_within(name, place):
            raise PathError(f"the control plane gives {name!r} where {place!r} was asked for")
        name = name.removeprefix(f"{above}/" if above else "")
        found.append((file, folder / name))
    return found


def _require_free(targets: list[Target], *, force: bool) -> None:
    from koco.errors import ConflictError

    seen: set[Path] = set()
    for file, local in targets:
        if local in seen:
            what = f"{file['path']} and another would both be {local}"
            raise ConflictError(what, hint="get them one by one, with another --to")
        seen.add(local)
        if local.is_dir() and not local.is_symlink():
            raise ConflictError(f"{local} is a folder")
        if os.path.lexists(local) and not force:
            raise ConflictError(f"{local} is there already", hint="--force replaces it")


def _fetch(client: "Client", fid: str, targets: list[Target], folder: Path) -> None:
    from koco.cli.terminal import output
    from koco.errors import UsageError

    total = sum(file["size_bytes"] for file, _ in targets)
    label = targets[0][1].name if len(targets) == 1 else f"{len(targets)} files"
    with output.progress(f"downloading {label}", total) as advance:
        for file, local in targets:
            _make_folder(local.parent, folder)
            try:
                client.files.fetch(fid, file, local, advance=advance)
            except OSError as exc:
                what = f"cannot write {exc.filename or local}: {exc.strerror}"
                raise output.unwritten(exc, what) or UsageError(what) from exc


def _make_folder(wanted: Path, folder: Path) -> None:
    """Make a folder below another, unless a link that is there leads out of it."""
    from koco.errors import ConflictError, UsageError

    if not wanted.resolve().is_relative_to(folder.resolve()):
        raise ConflictError(
            f"{wanted} leads out of {folder}, by a link to {wanted.resolve()}",
            hint="remove the link, or choose another --to",
        )
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"cannot make the folder {wanted}: {exc.strerror}") from exc
