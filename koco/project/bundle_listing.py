"""List the contents of a bundle, file by file, from its zip, which may come from anyone.

Two listings are equal if and only if the bundles behave the same. So a plan can find changed code
without packing anything (`koco.project.bundle.read`): it only reads and hashes.
"""

import hashlib
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from koco.errors import LimitError, UsageError
from koco.manifest.differences import File
from koco.sizes import MB

#: The zip's first file. Ray strips a sole top-level folder from archives that it fetches. With this
#: file next to it, no folder is alone.
MARKER = ".koco-bundle.json"

#: Errors from reading a zip that is broken or was made by hand.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    RuntimeError,  # encrypted; also `NotImplementedError`
    ValueError,  # also `UnicodeDecodeError`
)

#: The largest table of contents of a zip (bytes): enough for some hundred thousand files.
_CONTENTS_BYTES = 64 * MB


def of_zip(path: Path) -> list[File]:
    """Return the listing of a bundle, by path.

    Raises `UsageError` if the file is not a zip, or cannot be read.
    """
    with _readable(path), zipfile.ZipFile(path) as archive:
        listed = [_entry(archive, entry) for entry in _files(archive)]
    return sorted(listed, key=lambda file: file.path)


def names(path: Path) -> list[str]:
    """Return the paths of the files in a bundle, from its table of contents.

    Raises `UsageError` if the file is not a zip, or cannot be read.
    """
    with _readable(path), zipfile.ZipFile(path) as archive:
        return sorted(entry.filename for entry in _files(archive))


def check(path: Path, *, most_bytes: float) -> None:
    """Refuse a bundle that is not safe to unpack, by its table of contents alone.

    Python's own `zipfile`, which Ray unpacks with, writes nothing outside its folder. Other readers
    of a bundle may not guard against names that lead out of it.

    Raises:
        UsageError: it is not a zip, or has names that no bundle has.
        LimitError: it unpacks to more than `most_bytes`.
    """
    with _readable(path), path.open("rb") as file:
        # Checked before `ZipFile` reads it, because that needs a hundred times as much memory.
        contents = (zipfile._EndRecData(file) or [0] * 6)[5]  # type: ignore[attr-defined]
        if contents > _CONTENTS_BYTES:
            raise LimitError(f"the bundle {path.stem} has more files than anybody could want")
        entries = zipfile.ZipFile(file).infolist()
    seen: set[str] = set()
    for entry in entries:
        if fault := _fault(entry, seen):
            what = f"the bundle's {entry.filename[:200]!r} {fault}"
            raise UsageError(what, hint="`koco deploy` makes bundles without such")
    if (size := sum(entry.file_size for entry in entries)) > most_bytes:
        raise LimitError(
            f"the bundle unpacks to {size / MB:.4g} MB;"
            f" this control plane's max_file_mb is {most_bytes / MB:g}",
            hint="read what is large from elsewhere, or `koco up --set max_file_mb=N`",
        )


def _fault(entry: zipfile.ZipInfo, seen: set[str]) -> str | None:
    """Return the problem with an entry's name or kind, or None."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    if name in seen:
        return "is there twice"
    seen.add(name)
    if name.startswith("/") or "\\" in name or "\0" in name or name[1:3] == ":/":
        return "is not a path within it"
    if any(part in ("", ".", "..") for part in name.removesuffix("/").split("/")):
        return "leads out of it"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return "is encrypted" if entry.flag_bits & 1 else None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise `UsageError` if reading the zip fails."""
    try:
        yield
    except _BROKEN as exc:
        raise UsageError(f"the bundle {path.stem} cannot be read: {exc}") from exc


def _files(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    return (each for each in archive.infolist() if not each.is_dir() and each.filename != MARKER)


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> File:
    with archive.open(entry) as content:
        # It has `readinto`, as files have; typeshed declares it as any IO[bytes].
        digest = hashlib.file_digest(content, "sha256")  # type: ignore[arg-type]
    executable = bool(entry.external_attr >> 16 & stat.S_IXUSR)
    return File(entry.filename, entry.file_size, digest.hexdigest(), executable)
