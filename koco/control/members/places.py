"""Where the processes of a control plane listen."""

import contextlib
import socket
from urllib.parse import urlsplit

import msgspec

from koco.client.url import is_loopback
from koco.control.start import Start

_EVERYWHERE = ("0.0.0.0", "::")


def of_member(start: Start, number: int, *, node: str) -> Start:
    """Return the options of a member, by its number from 1, on the node with this address.

    It listens on the same port as the first process, unless it is on that one's machine, or the
    port is in use. Also while the first process is away: it will want its port again.
    """
    is_anywhere = start.host in _EVERYWHERE or is_loopback(start.host)
    host = start.host if is_anywhere else node
    is_near = is_loopback(start.host) or urlsplit(start.node_url).hostname == node
    wanted = (start.port + number,) if is_near else (start.port, start.port + number)
    port = next((port for port in wanted if _is_free(host, port)), 0) or bind(host, 0)
    node_url, is_apart = for_nodes(host, port, node=node, is_encrypted=start.tls_cert is not None)
    return msgspec.structs.replace(
        start, host=host, port=port, node_url=node_url, nodes_apart=is_apart
    )


def api_url(start: Start, *, node: str) -> str:
    """Return the URL at which other processes reach the API of one, on the node at an address."""
    scheme = "https" if start.tls_cert else "http"
    host = node if start.host in _EVERYWHERE else start.host
    return f"{scheme}://{_in_url(host)}:{start.port}"


def for_nodes(host: str, port: int, *, node: str, is_encrypted: bool) -> tuple[str, bool]:
    """Return the URL at which nodes reach the control plane, and whether it needs its own listener.

    `node` is the process's address in the cluster. Nodes need their own listener if the main one is
    encrypted, because each of them would have to be made to trust the certificate. They also need
    it if the main one does not listen on `node`, for example only on a loopback address, which
    means a different machine on each node.
    """
    is_everywhere = host in _EVERYWHERE
    is_near = is_everywhere or host == node or (is_loopback(host) and is_loopback(node))
    if is_near and not is_encrypted:
        return f"http://{_in_url(node if is_everywhere else host)}:{port}", False
    # A different address can use the same port. On the same address, try the next port.
    wanted = port + 1 if is_near else port
    with contextlib.suppress(OSError, OverflowError):
        bind(node, wanted)
        return f"http://{_in_url(node)}:{wanted}", True
    return f"http://{_in_url(node)}:{bind(node, 0)}", True


def bind(host: str, port: int) -> int:
    """Bind a port for a moment, 0 for any; return it.

    Raises:
        OSError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        found: int = probe.getsockname()[1]
        return found


def _is_free(host: str, port: int) -> bool:
    try:
        bind(host, port)
    except (OSError, OverflowError):
        return False
    return True


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
