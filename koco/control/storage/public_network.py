"""Which addresses are public, for URLs that users give."""

import contextlib
import ipaddress
import socket

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


def look_up(host: str, port: int) -> list[str]:
    """Return a host's addresses; none if it is unknown. Blocks as long as name servers do."""
    with contextlib.suppress(OSError, UnicodeError):
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in answers))
    return []
