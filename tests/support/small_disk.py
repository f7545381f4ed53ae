"""Disks that are small: a real one where one can be mounted, or what a disk is told to be."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

MB = 1024 * 1024


@contextmanager
def mounted(size_mb: int, *, at: Path | None = None) -> Iterator[Path]:
    """Mount a file system of that size; the test is skipped where that is not allowed."""
    path = at or Path(tempfile.mkdtemp(prefix="koco-disk-", dir="/tmp"))
    options = f"size={size_mb}m,mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        path.rmdir()
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


@contextmanager
def told(path: Path, size_mb: int) -> Iterator[Path]:
    """Have `os.statvfs` say of a directory that it is a disk of that size."""
    real = os.statvfs

    def said(of: str | Path) -> object:
        if not Path(of).is_relative_to(path):
            return real(of)
        files = [each.stat() for each in path.rglob("*") if each.is_file()]
        free = max(0, size_mb * MB - sum(each.st_blocks * 512 for each in files))
        return SimpleNamespace(f_frsize=1, f_bavail=free, f_bfree=free, f_blocks=size_mb * MB)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "statvfs", said)
        yield path


def of_kind(kind: str, tmp_path: Path, size_mb: int) -> AbstractContextManager[Path]:
    """Return a disk that is `mounted`, or one that is `told` of a folder."""
    return mounted(size_mb) if kind == "mounted" else told(tmp_path, size_mb)


def free(path: Path) -> int:
    """Return how much is free (bytes)."""
    found = os.statvfs(path)
    return int(found.f_bavail * found.f_frsize)


def leave(path: Path, size_bytes: float) -> Path:
    """Take all but some bytes, as somebody else's file; return that."""
    file = path / "theirs"
    with file.open("wb", buffering=0) as out:
        while free(path) > size_bytes:
            out.write(b"x" * 65536)
    return file


def fill(path: Path) -> Path:
    """Take all that is left, as somebody else's file; return that."""
    file = path / "somebody-elses"
    with file.open("ab", buffering=0) as out:
        for piece in (b"\0" * MB, b"\0" * 4096):
            try:
                while True:
                    out.write(piece)
            except OSError:
                continue
    return file
