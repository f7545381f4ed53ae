"""A flow's files: what its user brought (`in/`) and what it makes (`out/`), from any node.

`Files` does the work, over HTTP, in pieces; `AsyncFiles` has it done in threads. So
there is one way in which files travel, and an event loop never waits for one.
"""

import asyncio
import atexit
import contextlib
import errno
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from koco import paths
from koco.client import local
from koco.errors import NotFoundError, UsageError
from koco.sdk import secrets
from koco.sdk.places import Place

T = TypeVar("T")

#: Where the coroutines' files are read and written: not in the loop's own threads, which
#: are few and a flow's.
_threads = ThreadPoolExecutor(16, thread_name_prefix="koco-files")

_END: Any = object()

#: Where downloads are, of those files that nobody has closed yet.
_folders: set[Path] = set()


@atexit.register
def _remove_folders() -> None:
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)


class Files:
    """An execution's files, for plain functions and threads. A context manager.

    Paths begin with `in/` or `out/`. Any other is a `ValueError`; what is not there
    is a `FileNotFoundError`.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder: Path | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ls(self, path: str = "in") -> list[dict[str, Any]]:
        """Return the files below a folder, at any depth, or one file.

        Each is a dict: `path size_bytes sha256 created by`.

        Raises:
            FileNotFoundError: there is neither a folder nor a file of that name.
            ValueError: it is neither in `in/` nor in `out/`.
        """
        self._check()
        with _Missing(path):
            return self._place.ls(paths.place(path))

    def open(self, path: str) -> "Stream":
        """Return a file to be read; it is looked for when it is read."""
        return Stream(self, paths.path(path))

    def download(self, path: str = "in") -> Iterator[str]:
        """Yield the local path of a file, or of each in a folder, once it is there.

        They are in a temporary folder, under the same names, until `close`.
        """
        for file in self.ls(path):
            self._check()
            dest = self._local() / file["path"]
            dest.parent.mkdir(parents=True, exist_ok=True)
            with _Missing(file["path"]):
                self._place.fetch(file, dest)
            yield str(dest)

    def upload(self, path: str | Path) -> list[str]:
        """Put a local file, or a folder with all below it, into `out/`; return the paths.

        A folder keeps its name: `upload("charts")` makes `out/charts/…`.

        Raises:
            FileNotFoundError: nothing is there.
            KocoError: a link leads out of the folder; it is more than the service's limits allow.
            UsageError: a name has the value of a secret in it, and would be shown to everybody.
        """
        self._check()
        with _Missing(str(path)):
            found = local.found(Path(path))
        names = [paths.path(f"out/{file.name}") for file in found]
        for name in names:
            if (shown := secrets.mask(name)) != name:
                raise UsageError(
                    f"the name of the file {shown} has the value of a secret in it",
                    hint="names are shown to whoever sees the execution: give it another one",
                )
        for name, file in zip(names, found, strict=True):
            self._place.put(name, file.path, self._check)
        return names

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all below it.

        Raises:
            FileNotFoundError: nothing is there.
        """
        self._check()
        with _Missing(path):
            self._place.remove(paths.place(path))

    def close(self) -> None:
        """Close the connections and remove what was downloaded."""
        self._is_closed = True
        self._place.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            _folders.discard(self._folder)

    def _read(self, path: str) -> Generator[bytes, None, None]:
        with _Missing(path):
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
        # Also between pieces: a cancelled coroutine's thread ends with its next one.
        if self._is_closed:
            raise ValueError("these files are closed")


class Stream:
    """One file, to be read. A context manager."""

    def __init__(self, files: Files, path: str) -> None:
        self.path = path
        self._files = files
        self._pieces: Generator[bytes, None, None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Iterator[bytes]:
        """Yield the content in pieces, from the beginning; each of a size as it comes.

        Raises:
            FileNotFoundError: there is no such file.
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
            # A cancelled coroutine's thread may be in it still: it ends with its next piece.
            with contextlib.suppress(ValueError):
                pieces.close()


class AsyncFiles:
    """The same for coroutines: what takes time is awaited, what yields is `async for`."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ls(self, path: str = "in") -> list[dict[str, Any]]:
        """Return the files below a folder; see `Files.ls`."""
        return await _in_thread(self._files.ls, path)

    def open(self, path: str) -> "AsyncStream":
        """Return a file to be read; it is looked for when it is read."""
        return AsyncStream(self._files.open(path))

    async def download(self, path: str = "in") -> AsyncIterator[str]:
        """Yield local paths; see `Files.download`."""
        async for each in _each(self._files.download(path)):
            yield each

    async def upload(self, path: str | Path) -> list[str]:
        """Put a local file or folder into `out/`; see `Files.upload`."""
        return await _in_thread(self._files.upload, path)

    async def remove(self, path: str) -> None:
        """Remove a file or a folder; see `Files.remove`."""
        await _in_thread(self._files.remove, path)

    async def close(self) -> None:
        """Close the connections and remove what was downloaded."""
        await _in_thread(self._files.close)


class AsyncStream:
    """One file, to be read by a coroutine. An asynchronous context manager."""

    def __init__(self, stream: Stream) -> None:
        self.path = stream.path
        self._stream = stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces; see `Stream.read`."""
        async for piece in _each(self._stream.read()):
            yield piece

    async def read_all(self) -> bytes:
        """Return the whole content."""
        return await _in_thread(self._stream.read_all)

    async def remove(self) -> None:
        """Remove the file."""
        await _in_thread(self._stream.remove)

    async def close(self) -> None:
        """Stop reading."""
        await _in_thread(self._stream.close)


class _Missing:
    """Turns koco's word for what is not there into Python's."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, NotFoundError):
            raise FileNotFoundError(errno.ENOENT, "no such file", self._path) from None


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)


async def _each(items: Iterator[T]) -> AsyncIterator[T]:
    while (item := await _in_thread(next, items, _END)) is not _END:
        yield item
