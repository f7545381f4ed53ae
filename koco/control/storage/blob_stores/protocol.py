"""The interface of a place for blobs, and its errors.

A blob is bytes under their SHA-256. It is there as a whole or not at all, and never changes.
"""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Protocol

from koco.errors import NotFoundError, UnreachableError


class BlobsAwayError(UnreachableError):
    """The storage of blobs does not answer, or refuses. Nothing of the request was lost."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.headers = {"Retry-After": "5"}


class BlobStore(Protocol):
    """A place for blobs. Its methods neither block the loop nor wait without end."""

    @property
    def location(self) -> str:
        """Where it is, to be shown: without a secret."""
        ...

    def path(self, sha256: str) -> Path | None:
        """Return the file of a blob, which need not exist; None if blobs are not files here."""
        ...

    async def check(self) -> None:
        """Write a blob, list it, read it and remove it, and refuse a place where that fails.

        Raises:
            UsageError: the place does not exist, or its keys do not allow all that.
            BlobsAwayError: it does not answer.
        """
        ...

    async def size(self, sha256: str) -> int | None:
        """Return the size of a blob (bytes), or None if there is none."""
        ...

    async def renew(self, sha256: str, size_bytes: int) -> bool:
        """Return whether a blob of that size exists that will not count as old for hours."""
        ...

    async def add(self, sha256: str, part: Path) -> None:
        """Make a blob of a file whose hash has been checked. The file is gone or stays as it was.

        Raises:
            NoRoomError: the disk is full.
            BlobsAwayError: it does not answer, or refuses.
        """
        ...

    async def put(self, sha256: str, data: bytes) -> None:
        """Make a blob of content whose hash this is. Raises the errors of `add`."""
        ...

    async def open(self, sha256: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Return the bytes of a blob from `start` on, in pieces.

        A connection that breaks is made again where it broke.

        Raises:
            NotFoundError: there is no such blob.
            BlobsAwayError: it does not answer, now or while the pieces are read.
        """
        ...

    def old(self, before: float) -> AsyncIterator[list[str]]:
        """Yield the blobs that were added or renewed before a time (seconds since 1970)."""
        ...

    async def remove(self, names: Iterable[str], *, before: float) -> None:
        """Remove blobs, except those that have been added again since `before`."""
        ...

    async def sign(self, sha256: str, lifetime_s: float) -> str | None:
        """Return a URL at which anybody can read a blob for a while; None if there can be none."""
        ...


def missing(sha256: str, location: str) -> NotFoundError:
    """Return the error for a blob that was removed by hand."""
    return NotFoundError(f"the blob {sha256} is not in {location}")
