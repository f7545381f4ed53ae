"""The received part of one upload, on disk, and its hash so far."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from koco.control.storage.disk import Promise, no_room
from koco.errors import TimedOutError, UsageError
from koco.plurals import counted

#: How much is written or read at once (bytes).
PIECE_BYTES = 512 * 1024
#: How much of an upload the kernel may have left to write (bytes), because a commit of the store
#: waits for the disk, and would wait for all of it.
_SYNC_BYTES = 8 * 1024 * 1024
#: How long an upload may be silent before its part is free for another request (seconds).
_SILENCE_S = 20.0


class Part:
    """The received part of one user's blob. Its methods block; one caller at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.is_busy = False
        self._digest = None if path.exists() else hashlib.sha256()

    @property
    def arrived(self) -> int:
        """How many bytes have arrived; also valid before `load`."""
        return self.size if self._digest else self.path.stat().st_size

    def load(self) -> None:
        """Read the bytes that an earlier process has stored, to continue their hash."""
        if self._digest is not None:
            return
        digest, size = hashlib.sha256(), 0
        with self.path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
        self._digest, self.size = digest, size

    def append(self, pieces: list[bytes]) -> None:
        """Write pieces at the end; either all of them count or none."""
        assert self._digest is not None
        data = b"".join(pieces)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            left, at = memoryview(data), self.size
            while left:
                # Written at a position rather than appended, because a piece that did not fit may
                # have left bytes there.
                written = os.pwrite(descriptor, left, at)
                left, at = left[written:], at + written
            if at // _SYNC_BYTES > self.size // _SYNC_BYTES:
                os.fsync(descriptor)
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise no_room(exc.strerror or str(exc)) from exc
        finally:
            os.close(descriptor)
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes that have arrived."""
        assert self._digest is not None
        return self._digest.hexdigest()

    def settle(self, sha256: str) -> None:
        """Check the hash and make the file durable."""
        assert self._digest is not None
        if (found := self._digest.hexdigest()) != sha256:
            self.path.unlink(missing_ok=True)
            raise UsageError(
                f"the received content has the SHA-256 {found}, not {sha256}; it was removed",
                hint="did the file change while it was uploaded? upload it again",
            )
        with self.path.open("ab") as file:  # creates the file of an empty upload
            os.fsync(file.fileno())


async def take(part: Part, body: AsyncIterator[bytes], length: int, promise: Promise) -> None:
    """Append a body to a part, within its promise. If the body breaks off, its start is kept."""

    async def append(pieces: list[bytes], size_bytes: int) -> None:
        promise.require_room(size_bytes)
        await asyncio.to_thread(part.append, pieces)
        promise.fulfil(size_bytes)

    pieces: list[bytes] = []
    gathered = 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_SILENCE_S) as silence:
            async for data in body:
                # No timeout while it writes: the disk may be slow, and a writing thread cannot be
                # cancelled.
                silence.reschedule(None)
                if part.size + gathered + len(data) > length:
                    raise UsageError(
                        f"the upload has more than its Upload-Length, {counted(length, 'byte')}"
                    )
                pieces.append(data)
                gathered += len(data)
                if gathered >= PIECE_BYTES:
                    taken, size, pieces, gathered = pieces, gathered, [], 0
                    await append(taken, size)
                silence.reschedule(loop.time() + _SILENCE_S)
    except TimeoutError:
        raise TimedOutError(f"nothing of the upload arrived for {_SILENCE_S:g} s") from None
    finally:
        if pieces:
            await append(pieces, gathered)
