"""The place of an execution's files: its control plane."""

from collections.abc import Callable, Iterator
from pathlib import Path

from koco.client import local_files
from koco.client.answers import File

#: How long a control plane may be away before a flow's files give up (seconds).
AWAY_S = 60.0


class Place:
    """One execution's files at a control plane, accessed with the execution's token.

    Its methods raise `NotFoundError` for missing files. A test keeps its files in memory instead.
    """

    def __init__(self, fid: str, *, url: str, token: str) -> None:
        from koco.client.client import Client
        from koco.client.context_file import Context

        self._fid = fid
        context = Context(name="files", url=url, key=token)
        self._client = Client(context, away_s=AWAY_S, is_known=True)

    def ls(self, path: str) -> list[File]:
        """Return the files at or below a path."""
        return self._client.files.ls(self._fid, path)

    def read(self, file: File) -> Iterator[bytes]:
        """Yield a file's content. A broken connection is resumed, and the hash is checked."""
        return self._client.files.read(self._fid, file)

    def fetch(self, file: File, dest: Path) -> None:
        """Copy a file to a local path; resumed and checked like `read`."""
        self._client.files.fetch(self._fid, file, dest)

    def put(self, path: str, source: Path, check: Callable[[int], object]) -> None:
        """Store a local file. `check` is called for each piece, and may raise.

        The content is uploaded only if the control plane does not have it already.
        """
        size_bytes, sha256 = source.stat().st_size, local_files.digest(source, check)
        files = self._client.files
        files.upload(source, sha256, size_bytes=size_bytes, advance=check)
        files.attach(self._fid, path, sha256=sha256, size_bytes=size_bytes)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with everything in it."""
        self._client.files.remove(self._fid, path)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
