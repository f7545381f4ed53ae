"""The files of an execution in this process, in a folder of its own."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path

from koco import file_paths
from koco.client.answers import File
from koco.events import line


class Folder(MutableMapping[str, bytes]):
    """Files by path (`in/report.pdf`, `out/result.csv`). The folder is made with its first file.

    It also takes uploads as a control plane does: first the content, then its place.
    """

    def __init__(self, fid: str) -> None:
        self._fid = fid
        self._root: Path | None = None
        self._uploads: dict[str, Path] = {}

    @property
    def root(self) -> Path | None:
        """The folder; None if there is no file yet."""
        return self._root

    def __getitem__(self, path: str) -> bytes:
        file = self._file(path)
        if not file.is_file():
            raise KeyError(path)
        return file.read_bytes()

    def __setitem__(self, path: str, data: bytes) -> None:
        file = self._file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def __delitem__(self, path: str) -> None:
        self._file(path).unlink()

    def __iter__(self) -> Iterator[str]:
        if self._root is None:
            return
        for file in sorted(self._root.rglob("*")):
            if file.is_file():
                yield file.relative_to(self._root).as_posix()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def upload(
        self,
        path: Path,
        sha256: str,
        *,
        size_bytes: int,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Remember where a content is."""
        self._uploads[sha256] = path
        advance(size_bytes)

    def attach(self, fid: str, path: str, *, sha256: str, size_bytes: int) -> File:
        """Copy a content to its place."""
        file = self._file(file_paths.path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._uploads[sha256], file)
        return {
            "path": path,
            "size_bytes": size_bytes,
            "sha256": sha256,
            "created": line.timestamp(),
            "by": "you",
        }

    def _file(self, path: str) -> Path:
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix=f"koco-run-{self._fid}-"))
        return self._root / path
