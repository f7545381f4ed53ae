"""Bundles on disk, by their SHA-256, and the URLs under which nodes fetch them.

A node's fetch carries no key (Ray's runtime environments send no headers), so
the URL itself holds a signature that only this control plane can make. The same
bundle always has the same URL: that is what nodes cache by.
"""

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path

from koco import listing
from koco.control import digests
from koco.errors import NotFoundError, UsageError
from koco.manifest.plan import File

#: Bundles of which it is remembered what they hold: their content never changes.
_REMEMBERED = 256


class Bundles:
    """The bundles in a directory."""

    def __init__(self, directory: Path, *, secret: bytes, url: str) -> None:
        self._directory = directory
        self._secret = secret
        self._url = url
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in directory.glob("*.part"):
            left.unlink()  # uploads that the last process did not see the end of

    def path(self, sha256: str) -> Path:
        """Return a bundle's file.

        Raises:
            NotFoundError: there is no such bundle.
        """
        path = self._path(sha256)
        if not path.is_file():
            raise NotFoundError(f"no bundle {sha256}")
        return path

    def _path(self, sha256: str) -> Path:
        return self._directory / f"{digests.checked(sha256)}.zip"

    async def files(self, sha256: str) -> list[File]:
        """Return what is in a bundle, file by file; NotFoundError where there is none."""
        return await asyncio.to_thread(_listing, self.path(sha256))

    async def receive(self, sha256: str, body: AsyncIterator[bytes]) -> int:
        """Store a bundle as it arrives; return its size (bytes).

        Raises:
            UsageError: what arrived has another hash; nothing is kept.
        """
        path = self._path(sha256)
        part = path.with_name(f"{sha256}.{secrets.token_hex(4)}.part")
        digest, size = hashlib.sha256(), 0
        try:
            with part.open("wb") as file:
                async for data in body:
                    digest.update(data)
                    size += len(data)
                    file.write(data)
                if digest.hexdigest() != sha256:
                    raise UsageError(
                        f"the bundle's SHA-256 is {digest.hexdigest()}, not {sha256}",
                        hint="it was cut short or changed on its way: deploy again",
                    )
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return size

    def url(self, sha256: str) -> str:
        """Return the URL under which nodes fetch a bundle."""
        return f"{self._url}/bundles/{self._sign(sha256)}/{sha256}.zip"

    def signed_path(self, signature: str, sha256: str) -> Path:
        """Return a bundle's file for who knows its signature.

        Raises:
            NotFoundError: there is no such bundle, or that is not its signature.
        """
        if not hmac.compare_digest(self._sign(sha256), signature):
            raise NotFoundError(f"no bundle {sha256[:80]}")
        return self.path(sha256)

    def _sign(self, sha256: str) -> str:
        return hmac.new(self._secret, sha256.encode(), hashlib.sha256).hexdigest()[:32]


_listing = lru_cache(_REMEMBERED)(listing.of_zip)
