"""Pack a project's files into one zip, named by its SHA-256. The same files give the same bytes.

Order, times and permissions (except the exec bit) are fixed, so the machine, its clock, umask and
file system have no effect. Compression is zlib's, level 6. The bytes are the same on every system
with the same zlib, and another zlib may produce others. That costs an upload and a release with the
same content, never a wrong file.

The listing of a bundle describes the bytes that were packed, because each file is read only once
for both.
"""

import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Self

from koco import file_reading
from koco.errors import UsageError
from koco.file_reading import Patience
from koco.manifest.differences import File
from koco.project import secret_files
from koco.project.bundle_listing import MARKER
from koco.project.file_tree import Tree, unreadable
from koco.project.secret_files import LeftOut

_MARKER_CONTENT = b'{"format": 1}\n'

#: The earliest time that a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Contents:
    """Files as they were read, and those left out because they look like secrets; both by name."""

    files: list[File]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Bundle:
    """A zip on disk. As a context manager it removes that file at the end."""

    path: Path
    sha256: str
    size_bytes: int
    contents: Contents

    @property
    def files(self) -> list[File]:
        """The files in it, by name."""
        return self.contents.files

    def remove(self) -> None:
        """Remove the zip from the disk."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


#: Receives a piece of a file's content.
Write = Callable[[bytes], object]

#: Begins a file, by its name and status, and gives the function that receives the content.
Sink = Callable[[str, os.stat_result], AbstractContextManager[Write]]


def read(tree: Tree, sink: Sink | None = None) -> Contents:
    """Read a folder's files in order, and write their content to `sink` if there is one.

    If a file is being written, it waits for the writer, a few times in total. A file that is gone
    is skipped. A file that grows is read up to its size when it was opened.

    Raises:
        UsageError: one of them cannot be read.
    """
    sink = sink or (lambda name, status: nullcontext(lambda piece: None))
    patience, read, left_out = Patience(), list[File](), [*tree.left_out]
    for file in tree.files:
        try:
            source = file_reading.opened(file.path, patience)
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise unreadable(file.name, exc) from exc
        with source:
            status = os.fstat(source.fileno())
            pieces = _pieces(source, file.name, status.st_size)
            start = next(pieces)
            looks_like = None if file.is_included else secret_files.by_content(file.name, start)
            if looks_like is not None:
                left_out.append(LeftOut(file.name, looks_like))
                continue
            sha256, size_bytes = hashlib.sha256(), 0
            with sink(file.name, status) as write:
                for piece in chain((start,), pieces):
                    sha256.update(piece)
                    write(piece)
                    size_bytes += len(piece)
        executable = bool(status.st_mode & stat.S_IXUSR)
        read.append(File(file.name, size_bytes, sha256.hexdigest(), executable))
    return Contents(read, sorted(left_out))


def pack(
    tree: Tree, *, dest: Path | None = None, advance: Callable[[int], object] = lambda _: None
) -> Bundle:
    """Pack a folder's files.

    The zip is written to `dest`, or else to a temporary file that the caller removes. `advance` is
    called with the number of further bytes read. Raises `UsageError` if a file cannot be read or
    written, and if there is nothing to ship.
    """
    if not tree.files and not tree.declared:
        raise UsageError(
            f"{tree.root}: there are no files to ship",
            hint="look at .gitignore, .kocoignore and the manifest's runtime.files",
        )
    try:
        packed = _packed(tree, dest.parent if dest else None, advance)
        return replace(packed, path=packed.path.replace(dest)) if dest else packed
    except OSError as exc:
        what = f"the bundle cannot be written: {exc.strerror}"
        what += f": {exc.filename}" if exc.filename else ""
        raise UsageError(what, hint="TMPDIR names another folder for temporary files") from exc


def _packed(tree: Tree, folder: Path | None, advance: Callable[[int], object]) -> Bundle:
    with tempfile.NamedTemporaryFile(
        dir=folder, prefix="koco-", suffix=".zip", delete=False
    ) as out:
        path = Path(out.name)
        try:
            contents = _write(out, tree, advance)
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256").hexdigest()
            return Bundle(path, digest, out.seek(0, os.SEEK_END), contents)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _write(out: IO[bytes], tree: Tree, advance: Callable[[int], object]) -> Contents:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        archive.writestr(_entry(MARKER, executable=False), _MARKER_CONTENT)

        @contextmanager
        def sink(name: str, status: os.stat_result) -> Iterator[Write]:
            entry = _entry(name, executable=bool(status.st_mode & stat.S_IXUSR))
            # Set in advance, because it decides whether the sizes need 64 bits.
            entry.file_size = status.st_size
            with archive.open(entry, "w") as target:
                yield lambda piece: advance(target.write(piece))

        return read(tree, sink)


def _pieces(source: IO[bytes], name: str, size_bytes: int) -> Iterator[bytes]:
    """Yield at most `size_bytes` of a file, in pieces; one empty piece if it is empty."""
    while True:
        try:
            piece = source.read(min(_CHUNK_BYTES, size_bytes))
        except OSError as exc:
            raise unreadable(name, exc) from exc
        yield piece
        size_bytes -= len(piece)
        if not piece or not size_bytes:
            return


def _entry(name: str, *, executable: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix on every system, so the bytes are the same
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    # writestr and open take the level from the entry, not from the archive.
    entry._compresslevel = _LEVEL  # type: ignore[attr-defined]
    return entry
