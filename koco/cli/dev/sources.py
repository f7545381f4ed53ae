"""The files that a deploy is made from: those that are shipped, and those that configure it."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from koco.errors import KocoError
from koco.project import file_tree, output_files
from koco.project.config_file import FILE
from koco.project.project import Target

#: What is compared of each file: size, time of its last change (nanoseconds), and permissions.
Seen = dict[Path, tuple[int, int, int]]


class Sources:
    """The sources of targets, and the folders that they are in.

    Logs, the command's own output, and files that a rule ignores are no sources.
    """

    def __init__(self, targets: Sequence[Target], folders: Sequence[Path]) -> None:
        self._targets = targets
        self._folders = folders
        #: The folders to watch.
        self.folders = folders
        #: The sources as they are now.
        self.seen = self.read()

    def read(self) -> Seen:
        """Return the sources as they are now."""
        paths: set[Path] = set()
        for target in self._targets:
            paths |= {target.manifest_path, *target.environment.env_files}
            if target.project is not None:
                paths |= {target.project.root / FILE, *target.project.manifests}
        try:
            found = [target.look() for target in self._targets]
            self.folders = tuple(sorted({*self._folders, *(tree.root for tree in found)}))
        except KocoError:  # until that is corrected, any file may be a source
            found = []
        if found:
            paths |= {file.path for tree in found for file in tree.files}
        else:
            paths |= {path for folder in self._folders for path in _rough(folder)}
        return {path: facts for path in paths if (facts := _facts(path)) is not None}


def _rough(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that no rule ignores; all its files if that is not known."""
    outputs = output_files.written()
    try:
        yield from [file.path for file in file_tree.read(folder, outputs=outputs).files]
    except KocoError:
        for where, below, names in os.walk(folder):
            below[:] = [each for each in below if each not in file_tree.NEVER]
            yield from (
                path
                for path in (Path(where, name) for name in names)
                if not _is_one_of(path, outputs)
            )


def _is_one_of(path: Path, files: frozenset[output_files.Identity]) -> bool:
    found = _stat(path.lstat)
    return found is not None and output_files.identity(found) in files


def _facts(path: Path) -> tuple[int, int, int] | None:
    found = _stat(path.stat) or _stat(path.lstat)
    if found is None:
        return None
    return found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode)


def _stat(read: Callable[[], os.stat_result]) -> os.stat_result | None:
    try:
        return read()
    except OSError:
        return None
