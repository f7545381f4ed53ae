"""Connections to public addresses only, for URLs that users give.

The address that is checked is the address that is connected to, so a name that resolves to another
address a moment later changes nothing. Each redirect makes a new connection, which is checked, too.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from koco.control.storage.public_network import TRIED, is_public, look_up

#: Returns whether a connection may be made to an address and a port.
Permits = Callable[[str, int], bool]


class NotPublicError(Exception):
    """A host has no address that may be connected to."""


class UnresolvedError(Exception):
    """A host's name was not resolved in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.timeout_s = timeout_s


class PublicBackend(httpcore.NetworkBackend):
    """A network in which only permitted addresses exist."""

    def __init__(self, permits: Permits = is_public) -> None:
        self._permits = permits
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of a host's addresses.

        Raises:
            NotPublicError: it has none, or one of them is not permitted.
            UnresolvedError: the name is not resolved in time.
        """
        error: Exception | None = None
        addresses = _resolve(host, port, timeout)
        if not addresses or not all(self._permits(each, port) for each in addresses):
            raise NotPublicError(host)
        for address in addresses[:TRIED]:
            try:
                return self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                error = exc
        raise error or NotPublicError(host)


def _resolve(host: str, port: int, timeout_s: float | None) -> list[str]:
    """Return a host's addresses; none if it is unknown."""
    found: list[str] = []
    # A thread, because nothing else limits the time of this call. It ends with the process.
    thread = threading.Thread(target=lambda: found.extend(look_up(host, port)), daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise UnresolvedError(timeout_s or 0)
    return found
