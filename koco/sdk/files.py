"""An execution's files: those that its user uploaded (`in/`) and those that it makes (`out/`).

They can be used on any node. `Files` does the work, over HTTP, in pieces; `AsyncFiles` runs it
in threads. So there is only one implementation, and an event loop never blocks on a file.
"""

import asyncio
import atexit
import contextlib
import errno
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from koco import file_paths
from koco.client import local_files
from koco.client.answers import File
from koco.errors import NotFoundError, UsageError
from koco.sdk.file_backend import Place
from koco.sdk.process import secrets

T = TypeVar("T")

#: Runs the work of `AsyncFiles`. Not the loop's own threads, which are few and are meant for the
#: flow's own work.
_threads = ThreadPoolExecutor(16, thread_name_prefix="koco-files")

_END: Any = object()

#: Download folders of all `Files` that are not closed yet.
_folders: set[Path] = set()


@atexit.register
def _remove_folders() -> None:
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)


class Files:
    """An execution's files, for plain functions and threads. A context manager.

    Paths begin with `in/` or `out/`; any other raises `ValueError`. A missing file or folder
    raises `FileNotFoundError`.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder: Path | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ls(self, path: str = "in") -> list[File]:
        """List the files below a folder, at any depth, or a single file.

        Each is a dict: `path size_bytes sha256 created by`.

        Raises:
            FileNotFoundError: there is neither a folder nor a file of that name.
            ValueError: the path is neither in `in/` nor in `out/`.
        """
        self._check()
        with _missing(path):
            return self._place.ls(file_paths.place(path))

    def open(self, path: str) -> "Stream":
        """Return a file for reading. Whether it exists is checked when it is read."""
        return Stream(self, file_paths.path(path))

    def download(self, path: str = "in") -> Iterator[str]:
        """Download a file, or each file in a folder; yield each local path once it is complete.

        The files are in a temporary folder, under the same names, until `close`.
        """
        for file in self.ls(path):
            self._check()
            dest = self._local() / file["path"]
            dest.parent.mkdir(parents=True, exist_ok=True)
            with _missing(file["path"]):
                self._place.fetch(file, dest)
            yield str(dest)

    def upload(self, path: str | Path) -> list[str]:
        """Copy a local file, or a folder with everything below it, to `out/`; return the paths.

        A folder keeps its name: `upload("charts")` makes `out/charts/…`.

        Raises:
            FileNotFoundError: the local path does not exist.
            KocoError: a link leads out of the folder, or the service's limits are exceeded.
            UsageError: a name contains the value of a secret, which everybody would see.
        """
        self._check()
        with _missing(str(path)):
            found = local_files.find(Path(path))
        return self.put({file_paths.path(f"out/{file.name}"): file.path for file in found})

    def put(self, files: Mapping[str, Path]) -> list[str]:
        """Copy local files to the given paths; return the paths. Raises the errors of `upload`."""
        self._check()
        for name in files:
            if (shown := secrets.mask(name)) != name:
                raise UsageError(
                    f"the name of the file {shown} contains the value of a secret",
                    hint="everybody who can see the execution sees its file names: rename the file",
                )
        for name, file in files.items():
            self._place.put(name, file, self._check)
        return list(files)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with everything below it.

        Raises `FileNotFoundError` if there is no such file or folder.
        """
        self._check()
        with _missing(path):
            self._place.remove(file_paths.place(path))

    def close(self) -> None:
        """Close the connections and remove the downloads."""
        self._is_closed = True
        self._place.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            _folders.discard(self._folder)

    def _read(self, path: str) -> Generator[bytes, None, None]:
        with _missing(path):
            files = self._place.ls(path)
            if [file["path"] for file in files] != [path]:
                raise NotFoundError(f"{path!r} is a folder")
            for piece in self._place.read(files[0]):
                self._check()
                yield piece

    def _local(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="koco-files-"))
            _folders.add(self._folder)
        return self._folder

    def _check(self, _: int = 0) -> None:
        # Also called between pieces: after a cancellation the thread ends with its next piece.
        if self._is_closed:
            raise ValueError("these files are closed")


class Stream:
    """One file, for reading. A context manager."""

    def __init__(self, files: Files, path: str) -> None:
        self.path = path
        self._files = files
        self._pieces: Generator[bytes, None, None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Iterator[bytes]:
        """Yield the content in pieces of any size, from the beginning.

        Raises `FileNotFoundError` if there is no such file.
        """
        self.close()
        self._pieces = self._files._read(self.path)
        yield from self._pieces

    def read_all(self) -> bytes:
        """Return the whole content."""
        return b"".join(self.read())

    def remove(self) -> None:
        """Remove the file."""
        self._files.remove(self.path)

    def close(self) -> None:
        """Stop reading."""
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            # After a cancellation its thread may still be reading: it ends with its next piece.
            with contextlib.suppress(ValueError):
                pieces.close()


class AsyncFiles:
    """The same for coroutines: methods are awaited, and iterators are for `async for`."""

    def __init__(self, files: Files) -> None:
        #: The files that do the work.
        self.files = files

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ls(self, path: str = "in") -> list[File]:
        """Return the files below a folder; see `Files.ls`."""
        return await in_thread(self.files.ls, path)

    def open(self, path: str) -> "AsyncStream":
        """Return a file for reading. Whether it exists is checked when it is read."""
        return AsyncStream(self.files.open(path))

    async def download(self, path: str = "in") -> AsyncIterator[str]:
        """Yield local paths; see `Files.download`."""
        async for each in iterate_in_thread(self.files.download(path)):
            yield each

    async def upload(self, path: str | Path) -> list[str]:
        """Put a local file or folder into `out/`; see `Files.upload`."""
        return await in_thread(self.files.upload, path)

    async def remove(self, path: str) -> None:
        """Remove a file or a folder; see `Files.remove`."""
        await in_thread(self.files.remove, path)

    async def close(self) -> None:
        """Close the connections and remove the downloads."""
        await in_thread(self.files.close)


class AsyncStream:
    """One file, for reading in a coroutine. An asynchronous context manager."""

    def __init__(self, stream: Stream) -> None:
        self.path = stream.path
        self._stream = stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces; see `Stream.read`."""
        async for piece in iterate_in_thread(self._stream.read()):
            yield piece

    async def read_all(self) -> bytes:
        """Return the whole content."""
        return await in_thread(self._stream.read_all)

    async def remove(self) -> None:
        """Remove the file."""
        await in_thread(self._stream.remove)

    async def close(self) -> None:
        """Stop reading."""
        await in_thread(self._stream.close)


@contextlib.contextmanager
def _missing(path: str) -> Iterator[None]:
    """Turn koco's `NotFoundError` into Python's `FileNotFoundError`."""
    try:
        yield
    except NotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such file", path) from None


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run a function of files in their threads; return its result."""
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)


async def iterate_in_thread(items: Iterator[T]) -> AsyncIterator[T]:
    """Yield an iterator's items, each made in such a thread."""
    while (item := await in_thread(next, items, _END)) is not _END:
        yield item
