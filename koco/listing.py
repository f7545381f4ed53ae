"""What a bundle holds, file by file: listed from a folder before there is one, or from the zip.

Two listings are equal if, and only if, the bundles would do the same. So whether code has
changed is known without packing anything: reading and hashing is what a plan costs.
"""

import hashlib
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from koco import bundle
from koco.errors import UsageError
from koco.manifest.plan import File

#: What reading a zip raises that is broken, or that somebody has made by hand.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    RuntimeError,  # encrypted; also `NotImplementedError`
    ValueError,  # also `UnicodeDecodeError`
)


def of_files(files: Iterable[bundle.BundledFile]) -> list[File]:
    """Return the listing of files that are to be shipped.

    Raises:
        UsageError: one of them cannot be read.
    """
    listed = []
    for file in files:
        try:
            with file.path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
                status = os.fstat(source.fileno())
        except OSError as exc:
            raise bundle.unreadable(file.name, exc) from exc
        executable = bool(status.st_mode & stat.S_IXUSR)
        listed.append(File(file.name, status.st_size, digest, executable))
    return listed


def of_zip(path: Path) -> list[File]:
    """Return the listing of a bundle, by path.

    Raises:
        UsageError: the file is no zip, or one that cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename != bundle.MARKER]
            listed = [_entry(archive, entry) for entry in entries if not entry.is_dir()]
    except _BROKEN as exc:
        raise UsageError(f"the bundle {path.stem} cannot be read: {exc}") from exc
    return sorted(listed, key=lambda file: file.path)


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> File:
    with archive.open(entry) as content:
        # It has `readinto`, as files have; typeshed says that it is any IO[bytes].
        digest = hashlib.file_digest(content, "sha256")  # type: ignore[arg-type]
    executable = bool(entry.external_attr >> 16 & stat.S_IXUSR)
    return File(entry.filename, entry.file_size, digest.hexdigest(), executable)
