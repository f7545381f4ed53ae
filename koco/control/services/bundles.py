"""Bundles: the blobs that releases are made of, and the URLs under which nodes fetch them.

A user who may deploy can upload bundles, and use bundles that others have uploaded. A key for files
gives no access to them. Nodes fetch bundles without a key, because Ray's runtime environments send
no headers. So the URL itself contains a signature that only this control plane can make. The same
bundle always has the same URL, because nodes cache by URL.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path

from koco.control.storage import digests
from koco.control.storage.blobs import Blobs
from koco.errors import NotFoundError
from koco.manifest.differences import File
from koco.project import bundle_listing
from koco.sdk.process import late_bundle
from koco.sdk.process.stacks import BUNDLE_MARK
from koco.store.store import Store

#: The uploader of all bundles in `Blobs`. No key can have this name.
UPLOADER = "koco:bundles"
#: How many bundles' listings are cached. Their content never changes.
_REMEMBERED = 256


class Bundles:
    """The bundles among a control plane's blobs."""

    def __init__(self, blobs: Blobs, store: Store, *, secret: bytes, url: str) -> None:
        self._blobs = blobs
        self._store = store
        self._secret = secret
        self._url = url
        self._took_s: dict[str, float] = {}
        #: Part of the URLs of releases. Nodes cache by URL, and a restored store may use a number
        #: again.
        self._since = secrets.token_hex(4)

    async def file(self, sha256: str) -> Path:
        """Return a bundle's file, or a copy of it that is to be read soon.

        Raises:
            NotFoundError: There is no such bundle.
            BlobsAwayError: The storage of blobs does not answer.
        """
        try:
            return await self._blobs.file(sha256)
        except NotFoundError as exc:
            raise _missing(sha256) from exc

    async def has(self, sha256: str) -> bool:
        """Return True if a bundle is here."""
        return await self._blobs.has(sha256)

    async def check(self, sha256: str) -> None:
        """Refuse a bundle that is not safe to unpack; see `bundle_listing.check`.

        Raises:
            NotFoundError: There is no such bundle.
        """
        path = await self.file(sha256)
        await asyncio.to_thread(_check, path, self._blobs.largest_bytes)

    async def files(self, sha256: str) -> list[File]:
        """Return the files in a bundle. Raises NotFoundError if there is no such bundle."""
        return await asyncio.to_thread(_listing, await self.file(sha256))

    async def names(self, sha256: str) -> list[str]:
        """Return the paths in a bundle. Raises NotFoundError if there is no such bundle."""
        return await asyncio.to_thread(bundle_listing.names, await self.file(sha256))

    async def state(self, sha256: str, *, by: str = "") -> tuple[int, bool]:
        """Return how much of a bundle is here (bytes), and True if it is complete.

        An incomplete upload belongs to the user `by`. A complete bundle stays for at least
        another day, because somebody is about to use it.
        """
        async with self._blobs.garbage.settling:
            size_bytes = await self._blobs.kept.size(digests.check(sha256))
            if size_bytes is not None and await self._store.releases.have_bundle(sha256):
                await self._store.uploads.add(UPLOADER, sha256, size_bytes)
        return await self._blobs.state(UPLOADER, sha256, by=by)

    async def receive(
        self, sha256: str, *, offset: int, length: int, body: AsyncIterator[bytes], by: str = ""
    ) -> int:
        """Append `body` to a bundle at `offset`; see `Blobs.receive`."""
        began = time.monotonic()
        try:
            return await self._blobs.receive(
                UPLOADER,
                sha256,
                offset=offset,
                length=length,
                body=body,
                by=by,
                is_read_soon=True,
            )
        finally:
            took_s = time.monotonic() - began
            self._took_s[sha256] = self._took_s.get(sha256, 0.0) + took_s

    def took_s(self, sha256: str) -> float:
        """Return how long a bundle's upload took (seconds), and 0 on later calls.

        The time counts only once, because a second deploy does not wait for the upload.
        """
        return self._took_s.pop(sha256, 0.0)

    @asynccontextmanager
    async def hold(self, sha256: str) -> AsyncIterator[None]:
        """Keep a bundle from being collected until a release uses it.

        Raises:
            NotFoundError: It is not here, or is no bundle but for example a user's file.
        """
        async with self._blobs.garbage.settling:
            is_bundle = await self._store.uploads.renew(UPLOADER, sha256) is not None
            is_bundle = is_bundle or await self._store.releases.have_bundle(sha256)
            # Not `has`, which may be a minute old.
            if not is_bundle or await self._blobs.kept.size(digests.check(sha256)) is None:
                raise _missing(sha256)
            yield

    def url(self, sha256: str) -> str:
        """Return the URL under which nodes fetch a bundle."""
        return f"{self._url}/bundles/{self._sign(sha256)}/{sha256}.zip"

    def url_of_release(self, service: str, number: int) -> str:
        """Return the URL of the bundle of a release that may not exist yet.

        Until it does, the URL has a placeholder: see `koco.sdk.process.late_bundle`.
        """
        name = f"{service}.{number}.{self._since}"
        return f"{self._url}/bundles/{self._sign(name)}/{name}.zip"

    async def of_release(self, signature: str, name: str) -> Path | bytes:
        """Return the bundle of a release by its signed name, or the placeholder for it.

        Raises:
            NotFoundError: The signature is wrong, or the bundle has been collected.
        """
        self._require_signed(signature, name)
        service, number, _ = name.rsplit(".", 2)
        try:
            release = await self._store.releases.get(service, int(number))
        except NotFoundError:
            url = f"{self._url}/bundles/{signature}/{name}.zip"
            return late_bundle.placeholder(BUNDLE_MARK, url)
        return await self.file(release.bundle)

    async def signed_file(self, signature: str, sha256: str) -> Path:
        """Return a bundle's file to a caller that knows its signature.

        Raises:
            NotFoundError: There is no such bundle, or the signature is wrong.
        """
        self._require_signed(signature, sha256)
        return await self.file(sha256)

    def _require_signed(self, signature: str, name: str) -> None:
        # Compare bytes, because `compare_digest` takes only ASCII text and callers may send any.
        if not hmac.compare_digest(self._sign(name).encode(), signature.encode()):
            raise NotFoundError(f"no bundle {name[:80]}")

    def _sign(self, sha256: str) -> str:
        return hmac.new(self._secret, sha256.encode(), hashlib.sha256).hexdigest()[:32]


def _missing(sha256: str) -> NotFoundError:
    return NotFoundError(f"no bundle {sha256}", hint="`koco deploy` uploads it")


@lru_cache(_REMEMBERED)
def _check(path: Path, most_bytes: float) -> None:
    bundle_listing.check(path, most_bytes=most_bytes)


_listing = lru_cache(_REMEMBERED)(bundle_listing.of_zip)
