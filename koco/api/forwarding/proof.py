"""The header with which one process of the control plane passes a request on to another.

It says who sent the request, which the leader could not know otherwise, and is signed with a secret
of the store: from any other sender it counts for nothing.
"""

import hashlib
import hmac
import time
from typing import Any

import msgspec

#: The header.
NAME = b"koco-passed-on"
#: How old a proof may be (seconds): clocks of nodes differ.
_VALID_S = 300.0


class Sender(msgspec.Struct, frozen=True, array_like=True):
    """Who sent a request, and which one it was."""

    host: str
    port: int
    scheme: str
    #: When it was passed on (seconds since the epoch).
    at: float


def make(secret: bytes, scope: Any) -> bytes:
    """Return the header's value for a request."""
    host, port = scope.get("client") or ("", 0)
    sender = Sender(host, port, scope.get("scheme", "http"), time.time())
    text = msgspec.json.encode(sender)
    return text + b" " + _sign(secret, scope, text)


def read(secret: bytes, scope: Any, value: bytes) -> Sender | None:
    """Return who sent a request; None if no process of this control plane says so."""
    text, _, signature = value.rpartition(b" ")
    if not hmac.compare_digest(_sign(secret, scope, text), signature):
        return None
    sender = msgspec.json.decode(text, type=Sender)
    return sender if abs(time.time() - sender.at) < _VALID_S else None


def _sign(secret: bytes, scope: Any, text: bytes) -> bytes:
    target = b"\0".join((scope["method"].encode(), scope["raw_path"], scope["query_string"], text))
    return hmac.new(secret, target, hashlib.sha256).hexdigest().encode()
