"""The chunks of one file on disk, in the order of their arrival, and where each of them is.

Two files: `data` has the chunks one after the other, `index` a record of fixed size for each
number. A record is written after its chunk, so a chunk counts as a whole or not at all.
"""

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from koco.errors import ConflictError

#: Offset, size plus one, and the beginning of the SHA-256. All zero if there is no such chunk.
_RECORD = struct.Struct(">QI20s")
_DIGEST_BYTES = 20


class ChunkFile:
    """The chunks in a folder. Its methods block; one caller at a time."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._index = folder / "index"

    @property
    def size_bytes(self) -> int:
        """How many bytes have arrived."""
        try:
            return self._data.stat().st_size
        except FileNotFoundError:
            return 0

    def has(self, number: int, data: bytes) -> bool:
        """Return whether a chunk has arrived with this content.

        Raises:
            ConflictError: it has arrived with other content.
        """
        with contextlib.suppress(FileNotFoundError), self._index.open("rb") as index:
            index.seek(number * _RECORD.size)
            found = index.read(_RECORD.size)
            if len(found) == _RECORD.size and any(found):
                _, size, digest = _RECORD.unpack(found)
                if (size - 1, digest) != (len(data), _digest(data)):
                    raise ConflictError(
                        f"chunk {number} has arrived with other content",
                        hint="cancel the upload and begin another one",
                    )
                return True
        return False

    def put(self, number: int, data: bytes) -> None:
        """Add a chunk."""
        offset = self.size_bytes
        with self._data.open("ab") as file:
            file.write(data)
        record = _RECORD.pack(offset, len(data) + 1, _digest(data))
        descriptor = os.open(self._index, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, record, number * _RECORD.size)
        finally:
            os.close(descriptor)

    def places(self) -> dict[int, tuple[int, int]]:
        """Return offset and size (bytes) of each chunk that has arrived, by number."""
        found = {}
        records = self._index.read_bytes() if self._index.exists() else b""
        usable = len(records) - len(records) % _RECORD.size
        for number, (offset, size, _) in enumerate(_RECORD.iter_unpack(records[:usable])):
            if size:
                found[number] = (offset, size - 1)
        return found

    def pieces(self, places: list[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the chunks at some places, in that order."""
        if not self._data.exists():
            return
        with self._data.open("rb") as file:
            for offset, size in places:
                file.seek(offset)
                yield file.read(size)

    def remove(self) -> None:
        """Remove both files."""
        self._index.unlink(missing_ok=True)
        self._data.unlink(missing_ok=True)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_DIGEST_BYTES]
