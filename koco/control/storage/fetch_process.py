"""The process that fetches one URL: `python -m koco.control.storage.fetch_process`.

Whatever the URL's host sends is read here: names, TLS and HTTP may take any amount of work, and it
is this process that does it, at low priority and with limits of CPU time and memory. Its standard
input is a socket: a line with the order arrives there, and frames go back. A frame is its length
(four bytes) and so many bytes of the file. An empty one ends them, and a frame with the `Result`
follows. The control plane kills the process when it wants no more.
"""

import resource
import signal
import socket
import ssl
from collections.abc import Callable
from typing import IO, Any

import httpcore
import msgspec

from koco import __version__
from koco.control.storage import web_urls
from koco.control.storage.download_messages import Order, Result
from koco.control.storage.public_backend import (
    NotPublicError,
    Permits,
    PublicBackend,
    UnresolvedError,
)
from koco.control.storage.public_network import is_public
from koco.control.storage.web_urls import DownloadError
from koco.sizes import MB

#: The most redirects.
REDIRECTS = 3
#: How much of a file is in one frame at most (bytes).
FRAME_BYTES = 64 * 1024
#: The limits of this process: CPU time (seconds), and memory (bytes).
_CPU_S, _MEMORY_BYTES = 20, 1024 * 1024 * 1024
#: After so long (seconds) the process ends itself, because the control plane may have died.
_LONGEST_S = 180
#: The time limits of a connection, and of silence (seconds).
_CONNECT_S, _SILENCE_S = 10.0, 20.0

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_HEADERS: dict[bytes | str, bytes | str] = {
    "User-Agent": f"koco/{__version__}",
    "Accept": "*/*",
    # Compressed content could be larger than its limit once it is unpacked.
    "Accept-Encoding": "identity",
}

#: Takes a piece of a file.
Write = Callable[[bytes], object]


def main(permits: Permits = is_public) -> None:
    """Carry out the order at standard input. `permits` is for tests."""
    signal.alarm(_LONGEST_S)
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=0) as control:
        stream: Any = control.makefile("rwb")
        order = msgspec.json.decode(stream.readline(), type=Order)
        result = fetch(order, lambda piece: _send(stream, piece), permits)
        _send(stream, b"")
        _send(stream, msgspec.json.encode(result))


def _send(stream: IO[bytes], frame: bytes) -> None:
    stream.write(len(frame).to_bytes(4, "big") + frame)
    stream.flush()


def fetch(order: Order, write: Write, permits: Permits = is_public) -> Result:
    """Fetch a URL, and write its file in pieces of `FRAME_BYTES` or less."""
    try:
        return Result(name=_follow(order, write, permits))
    except NotPublicError:
        # The same for a name that does not exist, so that nobody can explore internal names.
        return Result(error="its host has no public address, or the port is neither 80 nor 443")
    except UnresolvedError as exc:
        return Result(error=f"the name of its host was not resolved within {exc.timeout_s:g} s")
    except httpcore.ConnectTimeout:
        return Result(error=f"its host accepts no connection within {_CONNECT_S:g} s")
    except httpcore.TimeoutException:
        return Result(error=f"its host was silent for {_SILENCE_S:g} s")
    except DownloadError as exc:
        return Result(error=exc.message)
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol):
        return Result(error="the connection to its host failed")


def _follow(order: Order, write: Write, permits: Permits) -> str:
    """Fetch a URL and follow its redirects; return the file's name."""
    now = order.url
    timeout = {"connect": _CONNECT_S, "read": _SILENCE_S, "write": _SILENCE_S}
    with httpcore.ConnectionPool(
        ssl_context=ssl.create_default_context(),
        network_backend=PublicBackend(permits),
        max_connections=1,
        http2=False,
    ) as network:
        for _ in range(REDIRECTS + 1):
            web_urls.check(now)
            with network.stream(
                "GET", web_urls.encode(now), headers=_HEADERS, extensions={"timeout": timeout}
            ) as answer:
                target = _header(answer, b"location")
                if answer.status in _REDIRECTS and target:
                    now = web_urls.join(now, target)
                    continue
                _require_file(answer, order.most_bytes)
                _pass_on(answer, order.most_bytes, write)
                return web_urls.file_name(order.url, now)
    raise DownloadError(f"it is redirected more than {REDIRECTS} times")


def _header(answer: httpcore.Response, name: bytes) -> str:
    found = (value for key, value in answer.headers if key.lower() == name)
    return next(found, b"").decode("latin-1")


def _require_file(answer: httpcore.Response, most_bytes: float) -> None:
    if answer.status != 200:
        raise DownloadError(f"its host answers with status {answer.status}")
    if _header(answer, b"content-encoding").lower() not in ("", "identity"):
        raise DownloadError("its host sends it compressed although that was refused")
    length = _header(answer, b"content-length")
    if length.isascii() and length.isdecimal() and len(length) < 19 and int(length) > most_bytes:
        raise _too_large(most_bytes)


def _pass_on(answer: httpcore.Response, most_bytes: float, write: Write) -> None:
    """Write a body in pieces of even size, because its host may send it byte by byte."""
    arrived, gathered = 0, bytearray()
    for piece in answer.iter_stream():
        arrived += len(piece)
        if arrived > most_bytes:
            raise _too_large(most_bytes)
        gathered += piece
        while len(gathered) >= FRAME_BYTES:
            write(bytes(gathered[:FRAME_BYTES]))
            del gathered[:FRAME_BYTES]
    if gathered:
        write(bytes(gathered))


def _too_large(most_bytes: float) -> DownloadError:
    return DownloadError(f"it has more than {most_bytes / MB:.4g} MB, which is the limit here")


if __name__ == "__main__":
    main()
