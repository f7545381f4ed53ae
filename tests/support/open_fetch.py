"""The process that fetches a URL, from any address: sites of tests are on this machine."""

import socket
import time
from typing import Any

from koco.control.storage import fetch_process

_resolve = socket.getaddrinfo


def _resolve_slowly(host: Any, *args: Any, **more: Any) -> Any:
    """Resolve names as ever, and those that end with `.slow` never."""
    if str(host).endswith(".slow"):
        time.sleep(60)
    return _resolve(host, *args, **more)


if __name__ == "__main__":
    socket.getaddrinfo = _resolve_slowly
    fetch_process.main(permits=lambda *_: True)
