"""The holder of a request, by its credential: found before it is parsed, so that it can take turns.

This only decides about its place in line. Guards decide about permissions.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from koco import tokens
from koco.control.access import login_throttle
from koco.store.store import Store

#: Has a place of its own, because monitoring calls it without a key.
_HEALTH = b"/health"
#: How much of a request's head is searched for a credential (bytes).
_LOOKED_AT = 8192
#: How many holders are cached; then the cache is emptied.
_REMEMBERED = 10_000

_COOKIE = re.compile(rb"(?:koco_session|kodosumi_jwt)=\s*([^;\s]+)")
#: The header of Kodosumi's clients, which has a key or a session's token.
_KODOSUMIS = b"kodosumi_api_key"


class Holders:
    """Finds the holders of requests; without a store, by the address alone."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._known: dict[bytes, str] = {}

    def of_bytes(self, data: bytes, address: str) -> str:
        """Return the holder (see `Caller.holder`) of a request that begins with `data`."""
        if data.startswith(b"GET " + _HEALTH + b" "):
            return _HEALTH.decode()
        head = data[:_LOOKED_AT].partition(b"\r\n\r\n")[0]
        low = head.lower()
        return self._of(lambda name: _value(head, low, name), address)

    def of_scope(self, scope: Mapping[str, Any], address: str) -> str:
        """Return the holder of a parsed request."""
        if scope["raw_path"] == _HEALTH:
            return _HEALTH.decode()
        headers = dict(scope["headers"])
        return self._of(lambda name: headers.get(name, b""), address)

    def _of(self, header: Callable[[bytes], bytes], address: str) -> str:
        authorization = header(b"authorization")
        shown = authorization.partition(b" ")[2].strip()
        if not authorization:
            found = _COOKIE.search(header(b"cookie"))
            shown = header(_KODOSUMIS).strip() or (found[1] if found else b"")
        if shown:
            secret = shown.decode("latin-1")
            digest = tokens.digest(secret)
            if holder := self._known.get(digest) or self._look_up(secret, digest):
                return holder
        return f"address:{login_throttle.network(address)}"

    def _look_up(self, secret: str, digest: bytes) -> str:
        if self._store is None:
            return ""
        is_session = secret.startswith(tokens.SESSION)
        try:
            if is_session:
                session = _at_once(self._store.users.find_session(digest))
                holder = f"user:{session[1].name}" if session else ""
            else:
                key = _at_once(self._store.keys.find(digest))
                holder = f"key:{key.name}" if key else ""
        except Exception:  # noqa: BLE001 - the guard looks it up again, and reports the error
            return ""
        if holder:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = holder
        return holder


def _value(head: bytes, low: bytes, name: bytes) -> bytes:
    """Return the value of a header; `name` is in lower case."""
    at = low.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    begin = at + len(name) + 3
    end = head.find(b"\r\n", begin)
    return head[begin : end if end >= 0 else None].strip()


def _at_once(looking: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a look-up that need not wait, or None if it would."""
    try:
        looking.send(None)
    except StopIteration as done:
        return done.value
    looking.close()
    return None
