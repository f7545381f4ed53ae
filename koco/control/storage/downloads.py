"""Files that users give by their URL: fetched into blobs, with the limits of uploads.

URLs lead only to public addresses (`koco.control.storage.public_network`), without the proxies of
the environment, which could lead anywhere.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from koco import __version__, file_paths
from koco.control import fair_turns
from koco.control.storage.blobs import Blobs
from koco.errors import KocoError, PathError
from koco.sizes import MB

if TYPE_CHECKING:
    import httpcore

    from koco.control.storage.public_network import Permits

#: The most redirects, and the longest URL (characters).
REDIRECTS, LONGEST = 3, 4096
#: The time limits (seconds): of a download, of its connection, and of silence.
_MOST_S, _CONNECT_S, _SILENCE_S = 120.0, 10.0, 20.0
#: How many downloads run at once.
_AT_ONCE = 8

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_HEADERS: dict[bytes | str, bytes | str] = {
    "User-Agent": f"koco/{__version__}",
    "Accept": "*/*",
    # Compressed content could be larger than its limit once it is unpacked.
    "Accept-Encoding": "identity",
}


class DownloadError(KocoError):
    """A URL cannot be fetched; the message says why, without its host's answer."""


class Download(msgspec.Struct, frozen=True):
    """A fetched file: a name for it, and its blob."""

    name: str
    sha256: str
    size_bytes: int


class Downloads:
    """Fetches URLs. `permits` is for tests."""

    def __init__(self, blobs: Blobs, *, permits: "Permits | None" = None) -> None:
        self._blobs = blobs
        self._permits = permits
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._trusted: ssl.SSLContext | None = None

    async def fetch(self, url: str, *, user: str, most_bytes: float) -> Download:
        """Fetch a URL into a blob that a user may name.

        Raises:
            DownloadError: the URL is invalid, leads to no public address, or does not answer with a
                file of that size in time.
            KocoError: see `Blobs.receive_content`.
        """
        fair_turns.yield_turn()
        import httpcore  # 60 ms, and few launches name URLs

        from koco.control.storage.public_network import NotPublicError

        try:
            async with self._turns, asyncio.timeout(_MOST_S):
                return await self._follow(url, user, most_bytes)
        except NotPublicError:
            # The same for a name that does not exist, so that nobody can explore internal names.
            raise DownloadError(
                "its host has no public address, or the port is neither 80 nor 443"
            ) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise DownloadError(f"it takes too long: more than {_MOST_S:g} s in all") from None
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
            OSError,
        ) as exc:
            raise DownloadError("the connection to its host failed") from exc

    async def _follow(self, url: str, user: str, most_bytes: float) -> Download:
        """Fetch a URL and follow its redirects."""
        now = url
        async with self._network() as network:
            for _ in range(REDIRECTS + 1):
                _check(now)
                timeout = {"connect": _CONNECT_S, "read": _SILENCE_S, "write": _SILENCE_S}
                async with network.stream(
                    "GET", _encoded(now), headers=_HEADERS, extensions={"timeout": timeout}
                ) as answer:
                    target = _header(answer, b"location")
                    if answer.status in _REDIRECTS and target:
                        now = _joined(now, target)
                        continue
                    _require_file(answer, most_bytes)
                    sha256, size = await self._blobs.receive_content(
                        user, _bounded(answer.aiter_stream(), most_bytes)
                    )
                    return Download(_name(url, now), sha256, size)
        raise DownloadError(f"it is redirected more than {REDIRECTS} times")

    def _network(self) -> "httpcore.AsyncConnectionPool":
        import httpcore  # see `fetch`

        from koco.control.storage.public_network import PublicBackend, is_public

        if self._trusted is None:
            self._trusted = ssl.create_default_context()
        return httpcore.AsyncConnectionPool(
            ssl_context=self._trusted,
            network_backend=PublicBackend(self._permits or is_public),
            max_connections=1,
            http2=False,
        )


def is_url(value: object) -> bool:
    """Whether a value looks like the URL of a file."""
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise DownloadError("it is not a valid URL") from exc
    if not is_url(url) or not parts.hostname or len(url) > LONGEST or not url.isprintable():
        raise DownloadError(f"it is not a URL of the web with {LONGEST} characters at most")
    if parts.username is not None or parts.password is not None:
        raise DownloadError("a URL with a name or a password is not fetched")


def _encoded(url: str) -> str:
    """Return a URL in ASCII."""
    import httpx  # comes with koco, and knows the rules; see `fetch`

    try:
        return str(httpx.URL(url))
    except httpx.InvalidURL as exc:
        raise DownloadError("it is not a valid URL") from exc


def _joined(url: str, target: str) -> str:
    """Return the URL that a redirect leads to."""
    try:
        joined = urljoin(url, target)
    except ValueError as exc:
        raise DownloadError("it is redirected to an invalid URL") from exc
    if url.lower().startswith("https:") and not joined.lower().startswith("https:"):
        raise DownloadError("it is redirected from https to an unencrypted URL")
    return joined


def _header(answer: "httpcore.Response", name: bytes) -> str:
    found: Any = (value for key, value in answer.headers if key.lower() == name)
    return next(found, b"").decode("latin-1")


def _require_file(answer: "httpcore.Response", most_bytes: float) -> None:
    if answer.status != 200:
        raise DownloadError(f"its host answers with status {answer.status}")
    if _header(answer, b"content-encoding").lower() not in ("", "identity"):
        raise DownloadError("its host sends it compressed although that was refused")
    length = _header(answer, b"content-length")
    if length.isascii() and length.isdecimal() and len(length) < 19 and int(length) > most_bytes:
        raise _too_large(most_bytes)


async def _bounded(body: AsyncIterator[bytes], most_bytes: float) -> AsyncIterator[bytes]:
    arrived = 0
    async for piece in body:
        arrived += len(piece)
        if arrived > most_bytes:
            raise _too_large(most_bytes)
        yield piece


def _too_large(most_bytes: float) -> DownloadError:
    return DownloadError(f"it has more than {most_bytes / MB:.4g} MB, which is the limit here")


def _name(*urls: str) -> str:
    """Return a file's name: the last part of the first URL that has one."""
    for url in urls:
        name = unquote(urlsplit(url).path).rpartition("/")[2]
        try:
            if name and file_paths.path(f"in/{name}") == f"in/{name}":
                return name
        except PathError:
            continue
    return "download"
