"""Bundles: the blobs that releases are made of, and the URLs under which nodes fetch them.

Whoever may deploy brings them and may use what others brought; no key for files reaches
them. A node's fetch carries no key at all (Ray's runtime environments send no headers),
so the URL itself holds a signature that only this control plane can make. The same
bundle always has the same URL: that is what nodes cache by.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path

from koco.control.storage.blobs import Blobs
from koco.errors import NotFoundError
from koco.manifest.differences import File
from koco.project import bundle_listing
from koco.store.protocol import Store

#: Who has brought all of them, for `Blobs`; no key is called so.
UPLOADER = "koco:bundles"
#: Bundles of which it is remembered what they hold: their content never changes.
_REMEMBERED = 256


class Bundles:
    """The bundles among a control plane's blobs."""

    def __init__(self, blobs: Blobs, store: Store, *, secret: bytes, url: str) -> None:
        self._blobs = blobs
        self._store = store
        self._secret = secret
        self._url = url
        self._took_s: dict[str, float] = {}

    def path(self, sha256: str) -> Path:
        """Return a bundle's file.

        Raises:
            NotFoundError: there is no such bundle.
        """
        if not self.has(sha256):
            raise NotFoundError(f"no bundle {sha256}", hint="`koco deploy` uploads it")
        return self._blobs.path(sha256)

    def has(self, sha256: str) -> bool:
        """Say whether a bundle is here."""
        return self._blobs.path(sha256).is_file()

    async def check(self, sha256: str) -> None:
        """Refuse a bundle that nobody should unpack; see `listing.check`.

        Raises:
            NotFoundError: there is no such bundle.
        """
        await asyncio.to_thread(_check, self.path(sha256), self._blobs.largest_bytes)

    async def files(self, sha256: str) -> list[File]:
        """Return what is in a bundle, file by file; NotFoundError where there is none."""
        return await asyncio.to_thread(_listing, self.path(sha256))

    async def names(self, sha256: str) -> list[str]:
        """Return the paths of the files in a bundle; NotFoundError where there is none."""
        return await asyncio.to_thread(bundle_listing.names, self.path(sha256))

    async def state(self, sha256: str, *, by: str = "") -> tuple[int, bool]:
        """Return how much of a bundle is here (bytes), and whether that is all of it.

        What is not all of it is `by`'s, who uploads it.

        One that is here stays for another day at least: somebody is about to use it.
        """
        path = self._blobs.path(sha256)
        async with self._blobs.settling:
            if path.is_file() and await self._store.has_release_of(sha256):
                await self._store.add_upload(UPLOADER, sha256, path.stat().st_size)
        return await self._blobs.state(UPLOADER, sha256, by=by)

    async def receive(
        self, sha256: str, *, offset: int, length: int, body: AsyncIterator[bytes], by: str = ""
    ) -> int:
        """Append what comes to a bundle, from `offset`; see `Blobs.receive`."""
        began = time.monotonic()
        try:
            return await self._blobs.receive(
                UPLOADER, sha256, offset=offset, length=length, body=body, by=by
            )
        finally:
            took_s = time.monotonic() - began
            self._took_s[sha256] = self._took_s.get(sha256, 0.0) + took_s

    def took_s(self, sha256: str) -> float:
        """Return how long its upload took, once: who deploys it again does not wait for it."""
        return self._took_s.pop(sha256, 0.0)

    @asynccontextmanager
    async def held(self, sha256: str) -> AsyncIterator[None]:
        """See to it that a bundle is here and is not collected, until a release names it.

        Raises:
            NotFoundError: it is not here, or is none: a file of somebody's, say.
        """
        async with self._blobs.settling:
            self.path(sha256)
            is_bundle = await self._store.uploaded(UPLOADER, sha256) is not None
            if not (is_bundle or await self._store.has_release_of(sha256)):
                raise NotFoundError(f"no bundle {sha256}", hint="`koco deploy` uploads it")
            yield

    def url(self, sha256: str) -> str:
        """Return the URL under which nodes fetch a bundle."""
        return f"{self._url}/bundles/{self._sign(sha256)}/{sha256}.zip"

    def signed_path(self, signature: str, sha256: str) -> Path:
        """Return a bundle's file for who knows its signature.

        Raises:
            NotFoundError: there is no such bundle, or that is not its signature.
        """
        # As bytes: what is compared as text must be ASCII, and anybody may send anything.
        if not hmac.compare_digest(self._sign(sha256).encode(), signature.encode()):
            raise NotFoundError(f"no bundle {sha256[:80]}")
        return self.path(sha256)

    def _sign(self, sha256: str) -> str:
        return hmac.new(self._secret, sha256.encode(), hashlib.sha256).hexdigest()[:32]


@lru_cache(_REMEMBERED)
def _check(path: Path, most_bytes: float) -> None:
    bundle_listing.check(path, most_bytes=most_bytes)


_listing = lru_cache(_REMEMBERED)(bundle_listing.of_zip)
