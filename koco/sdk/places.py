"""Where an execution's files are: at a control plane, or in a test's memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from koco.client import local

#: How long a control plane may be away before a flow's files give up (seconds).
AWAY_S = 60.0


class Place(Protocol):
    """Where an execution's files are; raises `NotFoundError` for what is not there."""

    def ls(self, path: str) -> list[dict[str, Any]]:
        """Return the files at or below a path."""
        ...

    def read(self, file: dict[str, Any]) -> Iterator[bytes]:
        """Yield a file's content."""
        ...

    def fetch(self, file: dict[str, Any], dest: Path) -> None:
        """Bring a file here."""
        ...

    def put(self, path: str, source: Path, check: Callable[[int], object]) -> None:
        """Make a file of a local one; `check` is called for each piece, and may raise."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or all of a folder."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Plane:
    """The files of one execution at a control plane, reached by its token."""

    def __init__(self, fid: str, *, url: str, token: str) -> None:
        from koco.client import Client
        from koco.config import Context

        self._fid = fid
        context = Context(name="files", url=url, key=token)
        self._client = Client(context, away_s=AWAY_S, is_known=True)

    def ls(self, path: str) -> list[dict[str, Any]]:
        """Return the files at or below a path."""
        return self._client.files.ls(self._fid, path)

    def read(self, file: dict[str, Any]) -> Iterator[bytes]:
        """Yield a file's content; resumed where a connection breaks, its hash checked."""
        return self._client.files.read(self._fid, file)

    def fetch(self, file: dict[str, Any], dest: Path) -> None:
        """Bring a file here; resumed and checked likewise."""
        self._client.files.fetch(self._fid, file, dest)

    def put(self, path: str, source: Path, check: Callable[[int], object]) -> None:
        """Upload a file, unless its content is there already, and name it."""
        size_bytes, sha256 = source.stat().st_size, local.digest(source, check)
        files = self._client.files
        files.upload(source, sha256, size_bytes=size_bytes, advance=check)
        files.attach(self._fid, path, sha256=sha256, size_bytes=size_bytes)

    def remove(self, path: str) -> None:
        """Remove a file or all of a folder."""
        self._client.files.remove(self._fid, path)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
