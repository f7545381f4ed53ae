"""Files on this machine: find them below a folder, hash them, never follow links out of it."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from koco import file_paths
from koco.errors import NotFoundError, UsageError

#: The size of one read or write (bytes).
CHUNK_BYTES = 256 * 1024

#: Called with the number of further bytes done.
Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to upload: its name, including its folders, and its path."""

    name: str
    path: Path
    size_bytes: int


def find(local: Path) -> list[LocalFile]:
    """Return a file, or every file below a folder. The names begin with the name of `local`.

    Raises:
        NotFoundError: nothing is there.
        UsageError: a link leads out of the folder, or there is no file at all.
        PathError: a name is not valid for a file of an execution.
    """
    try:
        root = local.resolve(strict=True)
    except (OSError, RuntimeError) as exc:
        raise NotFoundError(f"{local}: there is no such file or folder") from exc
    # A link keeps its own name; `.` and `..` get the name of their folder.
    name = root.name if local.name in ("", "..") else local.name
    if root.is_file():
        return [_file(name, root)]
    if not root.is_dir():
        raise UsageError(f"{local} is neither a file nor a folder")
    files = sorted(_below(root, name, root, (root,)), key=lambda file: file.name)
    if not files:
        raise UsageError(f"{local}: there is no file in that folder")
    return files


def digest(path: Path, advance: Advance = lambda _: None) -> str:
    """Return a file's SHA-256."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
            advance(len(chunk))
    return sha256.hexdigest()


def pieces(path: Path, start: int, count: int) -> Iterator[bytes]:
    """Yield `count` bytes of a file from `start` on.

    Raises:
        UsageError: it has become shorter.
    """
    with path.open("rb") as file:
        file.seek(start)
        while count:
            chunk = file.read(min(CHUNK_BYTES, count))
            if not chunk:
                raise UsageError(f"{path} became shorter while it was uploaded")
            yield chunk
            count -= len(chunk)


def _below(folder: Path, prefix: str, root: Path, trail: tuple[Path, ...]) -> Iterator[LocalFile]:
    for entry in folder.iterdir():
        name, path = f"{prefix}/{entry.name}", entry
        if entry.is_symlink():
            path = _target(entry, root, trail)
        if path.is_dir():
            yield from _below(path, name, root, (*trail, path.resolve()))
        elif path.is_file():  # not a socket or pipe
            yield _file(name, path)


def _file(name: str, path: Path) -> LocalFile:
    file_paths.path(f"in/{name}")
    return LocalFile(name, path, path.stat().st_size)


def _target(link: Path, root: Path, trail: tuple[Path, ...]) -> Path:
    """Return the target of a link if it is in the folder."""
    hint = "copy its target, or leave it out"
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as exc:
        what = f"{link} is a link to {os.readlink(link)}, which does not exist"  # noqa: PTH115 - as written
        raise UsageError(what, hint=hint) from exc
    if not target.is_relative_to(root):
        raise UsageError(f"{link} is a link that leads out of {root}: {target}", hint=hint)
    if target in trail:
        raise UsageError(f"{link} is a link to a folder that it is in: {target}", hint=hint)
    return target
