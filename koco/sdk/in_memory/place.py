"""An execution's files in memory."""

import hashlib
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from koco import file_paths
from koco.client.answers import File
from koco.errors import NotFoundError
from koco.events import line
from koco.events.model import Kind
from koco.sdk import file_backend


class Place(file_backend.Place):
    """The files of an execution in a test (see `koco.sdk.file_backend`)."""

    def __init__(
        self, content: MutableMapping[str, bytes], note_event: Callable[[Kind, Any], None]
    ) -> None:
        self._content = content
        self._note = note_event

    def ls(self, path: str) -> list[File]:
        """Return the files of a path."""
        found = [name for name in sorted(self._content) if file_paths.is_within(name, path)]
        if not found and path not in file_paths.ROOTS:
            raise NotFoundError(f"there is no file {path!r}")
        return [self._about(name) for name in found]

    def read(self, file: File) -> Iterator[bytes]:
        """Yield a file's content."""
        yield self._content[file["path"]]

    def fetch(self, file: File, dest: Path) -> None:
        """Write a file's content to a path."""
        dest.write_bytes(self._content[file["path"]])

    def put(self, path: str, source: Path, check: Callable[[int], object]) -> None:
        """Add a file."""
        self._content[path] = source.read_bytes()
        self._note(Kind.UPLOAD, self._about(path))

    def remove(self, path: str) -> None:
        """Remove the files of a path."""
        for file in self.ls(path):
            self._note(Kind.UPLOAD, {**self._about(file["path"]), "removed": True})
            del self._content[file["path"]]

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _about(self, path: str) -> File:
        data = self._content[path]
        sha256 = hashlib.sha256(data).hexdigest()
        by = "flow" if path.startswith("out/") else "test"
        return {
            "path": path,
            "size_bytes": len(data),
            "sha256": sha256,
            "created": line.timestamp(),
            "by": by,
        }
