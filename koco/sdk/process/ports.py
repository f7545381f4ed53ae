"""Make Ray's ports in a release's processes listen on the node's address, not on every address."""

import functools
from typing import Any

_EVERYWHERE = ("[::]", "0.0.0.0")


def install() -> None:
    """Make replicas listen for calls between deployments only on their node's address.

    Ray 2.60 opens that port on all interfaces, even in a cluster that is on loopback only, and
    has no option for it (`ray/serve/_private/replica.py`, `_on_initialized`). Callers get the
    node's address, so they do not need the other interfaces.
    """
    from ray._common import tls_utils

    add = tls_utils.add_port_to_grpc_server

    @functools.wraps(add)
    def add_port(server: Any, address: str) -> int:
        host, _, port = address.rpartition(":")
        bound: int = add(server, f"{_here()}:{port}" if host in _EVERYWHERE else address)
        return bound

    tls_utils.add_port_to_grpc_server = add_port


def _here() -> str:
    import ray

    address: str = ray.util.get_node_ip_address()
    return f"[{address}]" if ":" in address else address
