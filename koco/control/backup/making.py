"""Make a backup of a running control plane.

The store is copied first, in one transaction, and then the blobs that this copy names. A blob never
changes, and none is removed meanwhile, so the parts belong together whatever happens on the way.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from koco import __version__
from koco.control.backup import archive
from koco.control.services.secrets import KEY_FILE
from koco.control.storage.blobs import Blobs
from koco.control.storage.disk import Disk
from koco.errors import KocoError
from koco.events import line
from koco.store.store import Store

_PIECE_BYTES = 512 * 1024
#: How many blobs are looked up at once.
_SIDE_BY_SIDE = 16

#: The beginning of the names of copies of the store in the data directory.
_COPY = "backup-"


@dataclass(frozen=True, slots=True)
class _Part:
    """A member to be written: a file, a blob by its name, or content that is small."""

    name: str
    size_bytes: int
    source: Path | str | bytes


class Backups:
    """Makes backups of the control plane in a data directory."""

    def __init__(self, data_dir: Path, store: Store, blobs: Blobs, disk: Disk, *, url: str) -> None:
        self._data_dir = data_dir
        self._store = store
        self._blobs = blobs
        self._disk = disk
        self._url = url
        for left in data_dir.glob(f"{_COPY}*"):
            left.unlink()  # of a process that has died

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Make a backup and yield it in pieces.

        Raises:
            NoRoomError: the disk has no room for a copy of the store.
            StoreError: the store could not be copied.
            KocoError: a blob was changed by hand. The backup is incomplete then.
        """
        copy = self._data_dir / f"{_COPY}{secrets.token_hex(8)}"
        with ExitStack() as stack:
            async with self._blobs.garbage.settling:
                stack.enter_context(self._blobs.garbage.hold())
            with self._disk.promised(await self._store.engine.size_bytes()):
                names = await self._store.copy(copy)
            stack.callback(copy.unlink)
            blobs = await self._find(names)
            for part in await asyncio.to_thread(self._gather, copy, blobs):
                yield archive.header(part.name, part.size_bytes)
                async for piece in _content(part, self._blobs):
                    yield piece
                yield archive.padding(part.size_bytes)
            yield archive.CLOSE

    async def _find(self, names: list[str]) -> list[_Part]:
        """Return the blobs of some names. Those are left out that do not exist any more."""
        turns = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def find(name: str) -> _Part | None:
            async with turns:
                size_bytes = await self._blobs.kept.size(name)
            # A release that nobody can go back to any more has lost its bundle.
            return None if size_bytes is None else _Part(archive.BLOBS + name, size_bytes, name)

        return list(filter(None, await asyncio.gather(*map(find, names))))

    def _gather(self, copy: Path, blobs: list[_Part]) -> list[_Part]:
        hashes = {archive.STORE: _sha256(copy)}
        files = [_file(archive.STORE, copy)]
        if (key := self._data_dir / KEY_FILE).exists():
            files.append(_file(archive.KEY, key))
            hashes[archive.KEY] = _sha256(key)
        rest = [*files, *blobs, _small(archive.END, archive.End(sha256=hashes))]
        head = archive.Head(
            format=archive.FORMAT,
            koco=__version__,
            store=self._store.engine.version(),
            url=self._url,
            created=line.timestamp(),
            blobs=len(blobs),
            size_bytes=sum(archive.size(each.size_bytes) for each in rest) + len(archive.CLOSE),
        )
        return [_small(archive.HEAD, head), *rest]


async def _content(part: _Part, blobs: Blobs) -> AsyncIterator[bytes]:
    """Yield a member's content, as much as its header says."""
    if isinstance(part.source, bytes):
        yield part.source
        return
    left = part.size_bytes
    source = part.source
    pieces = await blobs.open(source) if isinstance(source, str) else _of_file(source)
    async for piece in pieces:
        if len(piece) > left:
            break
        left -= len(piece)
        yield piece
    if left:
        raise KocoError(f"{part.source} changed while it was read")


async def _of_file(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


def _file(name: str, path: Path) -> _Part:
    return _Part(name, path.stat().st_size, path)


def _small(name: str, content: msgspec.Struct) -> _Part:
    data = msgspec.json.encode(content)
    return _Part(name, len(data), data)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
