"""One request to a webhook's URL.

The address that is checked is the address that is connected to, so a name that resolves to another
address a moment later changes nothing. Redirects are not followed, and nothing of the answer is
kept but its status and how long to wait: otherwise a webhook could read what only this machine can.
"""

import asyncio
import contextlib
import functools
import ipaddress
import ssl
import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from koco import __version__
from koco.control.storage import public_network, web_urls
from koco.control.storage.web_urls import DownloadError
from koco.errors import UsageError

#: How long one request may take in all (seconds).
MOST_S = 15.0
#: The most that is read of an answer's head and, to let its server finish, of its body (bytes), and
#: how long that may take (seconds).
_HEAD_BYTES, _BODY_BYTES, _BODY_S = 32 * 1024, 64 * 1024, 2.0

_NOT_HTTPS = "it is not https"
_ELSEWHERE = "`koco config set webhook_networks=…` allows networks of one's own"


class Answer(NamedTuple):
    """An answer: its status code, and the header `Retry-After`."""

    code: int
    retry_after: str = ""


class PostError(Exception):
    """There was no answer; the message says why."""


def check_url(url: str, *, networks: Iterable[str]) -> str:
    """Return a URL that a webhook may have, in ASCII.

    A host's name is resolved for each message. So a URL is refused here only if that cannot help.

    Raises:
        UsageError: it is not valid, or nothing would ever be sent there.
    """
    try:
        web_urls.check(url)
        found = web_urls.encode(url)
    except DownloadError as exc:
        what = exc.message.replace("is not fetched", "is not used")
        raise UsageError(
            f"the webhook's URL: {what}", hint="such as https://example.com/hook"
        ) from exc
    if why := _never(found, tuple(networks)):
        raise UsageError(f"the webhook's URL: {why}", hint=_ELSEWHERE)
    return found


def _never(url: str, networks: tuple[str, ...]) -> str:
    """Return why nothing is sent to a URL, whatever its host's name resolves to; else nothing."""
    host, port, is_tls = _place(url)
    try:
        public_network.parse(host)
    except ValueError:
        return "" if is_tls or networks else _NOT_HTTPS
    return _refusal([host], port, is_tls, networks)


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, networks: Iterable[str] = ()
) -> Answer:
    """Send a body to a URL that `check_url` has returned; return the answer.

    `networks` are those that may be connected to although they are not public.

    Raises:
        PostError: there was no answer, or the URL's host may not be connected to.
    """
    try:
        async with asyncio.timeout(MOST_S):
            return await _post(url, body, headers, networks)
    except TimeoutError:
        raise PostError(f"no answer within {MOST_S:g} s") from None
    except ssl.SSLCertVerificationError as exc:
        raise PostError(f"its certificate is not valid: {exc.verify_message}") from exc
    except ssl.SSLError as exc:
        raise PostError("there is no secure connection to its host") from exc
    except (OSError, EOFError, asyncio.LimitOverrunError) as exc:
        raise PostError("the connection to its host failed") from exc


async def _post(
    url: str, body: bytes, headers: Mapping[str, str], networks: Iterable[str]
) -> Answer:
    parts = urlsplit(url)
    host, port, is_tls = _place(url)
    addresses = await _permitted(host, port, is_tls, networks)
    reader, writer = await _connect(addresses, port, host if is_tls else None)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(_head(target, parts.netloc, body, headers) + body)
        await writer.drain()
        answer = await _read_answer(reader)
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(_BODY_S):
                await reader.readexactly(_BODY_BYTES)
        return answer
    finally:
        writer.transport.abort()


async def _permitted(host: str, port: int, is_tls: bool, networks: Iterable[str]) -> list[str]:
    """Return a host's addresses, if all of them may be connected to."""
    addresses = await _resolve(host, port)
    if why := _refusal(addresses, port, is_tls, networks):
        raise PostError(f"{why}: {_ELSEWHERE}")
    return addresses


def _refusal(addresses: list[str], port: int, is_tls: bool, networks: Iterable[str]) -> str:
    """Return why a host's addresses may not be connected to; empty if they may."""
    ours = [ipaddress.ip_network(each) for each in networks]
    if addresses and all(_is_in(each, ours) for each in addresses):
        return ""
    if not addresses or not all(public_network.is_public(each, port) for each in addresses):
        # The same for a name that does not exist, so that nobody can explore internal names.
        return "its host has no public address, or the port is neither 80 nor 443"
    return "" if is_tls else _NOT_HTTPS


def _place(url: str) -> tuple[str, int, bool]:
    """Return the host and the port of a URL, and whether it is https."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    return parts.hostname or "", parts.port or (443 if is_tls else 80), is_tls


def _is_in(address: str, networks: list[Any]) -> bool:
    found = public_network.parse(address)
    return any(found.version == each.version and found in each for each in networks)


async def _resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses; none if it is unknown."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def look_up() -> None:
        addresses = public_network.look_up(host, port)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell, addresses)

    def tell(addresses: list[str]) -> None:
        if not found.done():
            found.set_result(addresses)

    # A thread of its own, because a slow name server would hold up those that others share.
    threading.Thread(target=look_up, name="koco-resolve", daemon=True).start()
    return await found


async def _connect(
    addresses: list[str], port: int, tls_host: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first of some addresses that takes it."""
    context = None if tls_host is None else await asyncio.to_thread(_tls)
    failed: OSError | None = None
    for address in addresses[: public_network.TRIED]:
        try:
            return await asyncio.open_connection(
                address, port, ssl=context, server_hostname=tls_host, limit=_HEAD_BYTES
            )
        except ssl.SSLError:
            raise
        except OSError as exc:
            failed = exc
    raise failed or ConnectionError


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Without classic Diffie-Hellman, in which a server could choose numbers that take long.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    return context


def _head(target: str, host: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = {
        "Host": host,
        "User-Agent": f"koco/{__version__}",
        "Accept": "*/*",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")
        version, _, rest = status.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
            raise PostError("its host does not speak HTTP/1.1")
        if not rest.startswith("1"):
            break  # others announce the answer
    for each in lines:
        name, _, value = each.partition(":")
        if name.lower() == "retry-after":
            return Answer(int(rest[:3]), value.strip())
    return Answer(int(rest[:3]))
