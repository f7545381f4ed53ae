"""Kodosumi's files of an execution: uploaded by its user (`in/`), or made by the flow (`out/`).

They differ from koco's own files in their entries (`size`, `last_modified`), in the names of what
`upload` and `download` write (without the folder's own name), and in streams, which are open or
closed and read on where they stopped. Downloads stay until the execution ends, as services use them
after `close`.
"""

import datetime as dt
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import Self, TypedDict

from koco import file_paths
from koco.client import local_files
from koco.sdk.files import Files, Stream, in_thread, iterate_in_thread


class Entry(TypedDict):
    """A file: its size in bytes, and its last change in seconds since the epoch."""

    path: str
    size: int
    last_modified: float


#: How the names of download folders begin; the execution's id follows.
_PREFIX = "kodosumi-"


def remove_downloads(fid: str) -> None:
    """Remove an execution's downloads on this node, also those of its Ray tasks."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{fid}-*"):
        shutil.rmtree(folder, ignore_errors=True)


class SyncFileSystem:
    """An execution's files, for plain functions and Ray tasks. A context manager.

    Paths begin with `in` or `out`; any other raises `ValueError`. A missing file or folder raises
    `FileNotFoundError`.
    """

    def __init__(self, files: Files, fid: str = "") -> None:
        self._files = files
        self.fid = fid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ls(self, path: str = "in") -> list[Entry]:
        """List the files below a folder, at any depth: dicts with `path size last_modified`."""
        return [
            Entry(
                path=file["path"],
                size=file["size_bytes"],
                last_modified=dt.datetime.fromisoformat(file["created"]).timestamp(),
            )
            for file in self._files.ls(_path(path))
        ]

    def open(self, path: str) -> "SyncFileStream":
        """Return a file for reading. Whether it exists is checked when it is opened."""
        return SyncFileStream(self, _path(path))

    def remove(self, path: str) -> bool:
        """Remove a file, or a folder with everything below it; return True."""
        self._files.remove(_path(path))
        return True

    def download(self, path: str = "in") -> Iterator[str]:
        """Download a file, or each file below a folder; yield each local path.

        The local paths are relative to the folder: `download("in/docs")` makes `a.txt` of
        `in/docs/a.txt`.
        """
        wanted = _path(path)
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{self.fid}-"))
        for file in self.ls(wanted):
            name = PurePosixPath(file["path"])
            parent = name.parent if file["path"] == wanted else PurePosixPath(wanted)
            target = folder / name.relative_to(parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.open(file["path"]) as source, target.open("wb") as copy:
                for piece in source.read():
                    copy.write(piece)
            yield str(target)

    def upload(self, path: str | Path) -> str | None:
        """Copy a local file, or everything below a folder, to `out/`; return a batch id.

        The folder's own name is left out: `upload("/tmp/charts")` makes `out/a.png` of
        `/tmp/charts/a.png`. Return None if there is nothing to copy.
        """
        local = Path(path)
        if not local.is_file() and not any(each.is_file() for each in local.rglob("*")):
            return None
        found = {each.name: each.path for each in local_files.find(local)}
        if not local.is_file():
            found = {name.partition("/")[2]: each for name, each in found.items()}
        self._files.put({file_paths.path(f"out/{name}"): each for name, each in found.items()})
        return str(uuid.uuid4())

    def close(self) -> None:
        """Close the connections. Downloads stay."""
        self._files.close()


class SyncFileStream:
    """One file, open for reading once, from its beginning to its end. A context manager."""

    def __init__(self, files: SyncFileSystem, path: str) -> None:
        self._files = files
        self._path = path
        self._stream: Stream = files._files.open(path)
        self._pieces: Generator[bytes, None, None] | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        if self._pieces is not None or self._is_closed:
            raise RuntimeError("this stream was opened before: ask `open` for another")
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        if self._is_closed:
            raise RuntimeError("this stream is closed")
        if self._pieces is None:
            if [file["path"] for file in self._files.ls(self._path)] != [self._path]:
                raise FileNotFoundError(self._path)
            self._pieces = self._read()

    def _read(self) -> Generator[bytes, None, None]:
        yield from self._stream.read()

    def read(self) -> Iterator[bytes]:
        """Yield the content in pieces of any size, from where the last reader stopped.

        Raises `FileNotFoundError` if there is no such file, `RuntimeError` after `close`.
        """
        self._open()
        assert self._pieces is not None
        # Not `yield from`: that would end the pieces together with a reader that stops early.
        while (piece := next(self._pieces, None)) is not None:
            yield piece

    def read_all(self) -> bytes:
        """Return the rest of the content. Raises `FileNotFoundError` if it cannot be read."""
        try:
            return b"".join(self.read())
        except FileNotFoundError:
            raise
        except Exception as exc:
            raise FileNotFoundError(self._path) from exc

    def remove(self) -> bool:
        """Close it and remove the file; return True."""
        self.close()
        return self._files.remove(self._path)

    def close(self) -> None:
        """Stop reading. A stream that was never opened may still be opened."""
        if self._pieces is not None:
            self._is_closed = True
            self._stream.close()


class AsyncFileSystem:
    """The same for coroutines: methods are awaited, and iterators are for `async for`."""

    def __init__(self, files: SyncFileSystem) -> None:
        self._files = files
        self.fid = files.fid

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ls(self, path: str = "in") -> list[Entry]:
        """List the files below a folder; see `SyncFileSystem.ls`."""
        return await in_thread(self._files.ls, path)

    def open(self, path: str) -> "AsyncFileStream":
        """Return a file for reading. Whether it exists is checked when it is opened."""
        return AsyncFileStream(self._files.open(path))

    async def remove(self, path: str) -> bool:
        """Remove a file or folder; return True."""
        return await in_thread(self._files.remove, path)

    async def download(self, path: str = "in") -> AsyncIterator[str]:
        """Yield local paths; see `SyncFileSystem.download`."""
        async for each in iterate_in_thread(self._files.download(path)):
            yield each

    async def upload(self, path: str | Path) -> str | None:
        """Copy a local file or folder to `out/`; see `SyncFileSystem.upload`."""
        return await in_thread(self._files.upload, path)

    async def close(self) -> None:
        """Close the connections. Downloads stay."""
        await in_thread(self._files.close)


class AsyncFileStream:
    """One file, open for reading once, in a coroutine. An asynchronous context manager."""

    def __init__(self, stream: SyncFileStream) -> None:
        self._stream = stream

    async def __aenter__(self) -> Self:
        await in_thread(self._stream.__enter__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces; see `SyncFileStream.read`."""
        async for piece in iterate_in_thread(self._stream.read()):
            yield piece

    async def read_all(self) -> bytes:
        """Return the rest of the content; see `SyncFileStream.read_all`."""
        return await in_thread(self._stream.read_all)

    async def remove(self) -> bool:
        """Close it and remove the file; return True."""
        return await in_thread(self._stream.remove)

    async def close(self) -> None:
        """Stop reading."""
        await in_thread(self._stream.close)


def _path(path: str) -> str:
    """Return a path without slashes around it. Raises `ValueError` if it is not in a root."""
    return file_paths.place(path.strip("/"))
