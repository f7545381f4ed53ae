"""Ask a control plane once, with nothing but a socket."""

import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from koco.client.context_file import Context

#: The size of an answer that is read (bytes).
_MOST = 1 << 20


def get(context: "Context", path: str, *, timeout_s: float) -> bytes:
    """Return the body of the answer to a GET; empty if the control plane refuses.

    Raises:
        OSError: it cannot be reached, or takes too long.
        ValueError: the answer is not HTTP, or too large.
    """
    deadline = time.monotonic() + timeout_s
    parts = urlsplit(context.url)
    is_tls = parts.scheme == "https"
    link = socket.create_connection(
        (parts.hostname or "", parts.port or (443 if is_tls else 80)), timeout_s
    )
    with link:
        if is_tls:
            import ssl  # only for https

            trust = ssl.create_default_context(cafile=context.ca or None)
            link = trust.wrap_socket(link, server_hostname=parts.hostname)
        with link:
            link.sendall(_request(context, parts.netloc, parts.path.rstrip("/") + path))
            return _body(_read(link, deadline))


def _request(context: "Context", host: str, path: str) -> bytes:
    # Of HTTP 1.0, so that the answer comes in one piece and ends with the connection.
    lines = [f"GET {path} HTTP/1.0", f"Host: {host}", "Accept: application/json"]
    if context.key:
        lines.append(f"Authorization: Bearer {context.key}")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def _read(link: socket.socket, deadline: float) -> bytes:
    parts, size = [], 0
    while part := link.recv(1 << 16):
        parts.append(part)
        size += len(part)
        if size > _MOST:
            raise ValueError("the answer is too large")
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer takes too long")
        link.settimeout(left_s)
    return b"".join(parts)


def _body(answer: bytes) -> bytes:
    head, end, body = answer.partition(b"\r\n\r\n")
    status = head.split(None, 2)[1:2]
    if not end or not status:
        raise ValueError("the answer is not HTTP")
    return body if status == [b"200"] else b""
