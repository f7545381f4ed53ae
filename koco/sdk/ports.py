"""Ports that Ray opens in a release's processes: at the node's address, not at every one."""

import functools
from typing import Any

_EVERYWHERE = ("[::]", "0.0.0.0")


def install() -> None:
    """Have replicas listen for calls between deployments where their node is reached.

    Ray 2.60 opens that port on all interfaces, even in a cluster that is on loopback only, and
    has no option for it (`ray/serve/_private/replica.py`, `_on_initialized`). Who calls it is told
    the node's address, so nobody misses the others.
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
