"""Connections to public addresses only, for URLs that users give.

The address that is checked is the address that is connected to, so a name that resolves to another
address a moment later changes nothing. Each redirect makes a new connection, which is checked, too.
"""

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import psutil

#: Ports of the web. Others may belong to services that only a firewall protects.
PORTS = frozenset((80, 443))
#: How many of a host's addresses are tried.
TRIED = 4
#: The networks of the internet's version 6; everything else there is reserved or private.
_GLOBAL = ipaddress.IPv6Network("2000::/3")
#: Networks that are not public although Python's list, or the one of this Python, says so: protocol
#: assignments, relays of 6to4, Azure's host, 6to4, Teredo, and documentation.
_OTHERS = tuple(
    map(
        ipaddress.ip_network,
        (
            *("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),
            *("2002::/16", "2001::/23", "3fff::/20"),
        ),
    )
)
#: The beginnings of interface ids that go on with an IPv4 address (ISATAP).
_ISATAP = frozenset((0x00005EFE, 0x02005EFE))

#: Returns whether a connection may be made to an address and a port.
Permits = Callable[[str, int], bool]


class NotPublicError(Exception):
    """A host has no address that may be connected to."""


class UnresolvedError(Exception):
    """A host's name was not resolved in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.timeout_s = timeout_s


def is_public(address: str, port: int) -> bool:
    """Whether an address is on the internet, not of this machine, and the port is of the web."""
    try:
        found = parse(address)
    except ValueError:
        return False
    if not found.is_global or found.is_multicast or found.is_reserved or found.is_loopback:
        return False
    if isinstance(found, ipaddress.IPv6Address) and (
        found not in _GLOBAL or int(found) >> 32 & 0xFFFFFFFF in _ISATAP
    ):
        return False
    if any(found.version == net.version and found in net for net in _OTHERS):
        return False
    return port in PORTS and str(found) not in _own_addresses()


def parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address without its zone; one of version 4 that is written as version 6 is that."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _own_addresses() -> set[str]:
    """Return the addresses of this machine, which may have services that no firewall separates."""
    return {
        each.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in (socket.AF_INET, socket.AF_INET6)
    }


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


def look_up(host: str, port: int) -> list[str]:
    """Return a host's addresses; none if it is unknown. Blocks as long as name servers do."""
    with contextlib.suppress(OSError, UnicodeError):
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in answers))
    return []


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
