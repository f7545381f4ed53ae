"""Local paths for an execution's files."""

from collections.abc import Iterable
from pathlib import Path

from koco import file_paths
from koco.client.answers import File
from koco.errors import ConflictError, PathError, UsageError

#: A file of the execution, and its local path.
Target = tuple[File, Path]


def targets(files: Iterable[File], place: str, folder: Path) -> list[Target]:
    """Return the files at or below a place, each with its local path below a folder.

    Raises:
        PathError: the control plane sent a file from elsewhere.
    """
    above = place.rpartition("/")[0]
    found: list[Target] = []
    for file in files:
        # Check the server's file names again, because they become local paths.
        name = file_paths.path(file["path"])
        if place and not file_paths.is_within(name, place):
            raise PathError(f"the control plane sent {name!r}, but {place!r} was requested")
        found.append((file, folder / name.removeprefix(f"{above}/" if above else "")))
    return found


def make_folder(wanted: Path, folder: Path) -> None:
    """Create a folder at or below another.

    Raises:
        ConflictError: a link leads out of the other.
        UsageError: it cannot be created.
    """
    if not wanted.resolve().is_relative_to(folder.resolve()):
        raise ConflictError(
            f"{wanted} is outside of {folder}: a link leads to {wanted.resolve()}",
            hint="remove the link, or choose another folder",
        )
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"cannot create the folder {wanted}: {exc.strerror}") from exc
