"""Start a head on this machine, restart its dashboard, and check a running Ray."""

import json
import os
import platform
import socket
import threading
import time
from typing import Any

import ray
from ray._private.ray_constants import (
    DASHBOARD_ADDRESS,
    KV_NAMESPACE_DASHBOARD,
    RAY_WORKER_NICENESS,
)
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # in C
from ray.exceptions import AuthenticationError, RayError
from ray.experimental.internal_kv import _internal_kv_del

from koco.bootstrap import local_head
from koco.errors import KocoError

#: How long a Ray may take to answer a check (seconds).
_LOOK_S = 5.0
#: How long a dashboard may take to listen (seconds).
_DASHBOARD_S = 30.0
_AGAIN_S = 0.05


def start(ports: dict[str, int]) -> str:
    """Start a head that only this machine can reach. Return its address."""
    from ray.scripts.scripts import cli  # only here, because the import takes long

    # Ray gives all its workers niceness 15, the control plane among them. On a busy machine it
    # would then answer late. `koco.sdk.worker_setup` lowers the priority of flows instead.
    os.environ.setdefault(RAY_WORKER_NICENESS, "0")
    cli.main(
        [
            *("start", "--head", "--disable-usage-stats", "--log-style", "record"),
            *("--node-ip-address", "127.0.0.1", "--port", str(ports["gcs"])),
            *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(ports["dashboard"])),
            *("--ray-client-server-port", str(ports["client"])),
            *("--dashboard-agent-listen-port", str(ports["agent"])),
            # Flows' output goes to the event stream, so Ray's copies of it are not needed.
            *("--include-log-monitor", "false"),
        ],
        standalone_mode=False,
    )
    return f"127.0.0.1:{ports['gcs']}"


def start_dashboard(port: int) -> int:
    """Start the dashboard of the head that this process has joined. Return its port.

    Ray starts the dashboard only with the head and never restarts it. Processes in the cluster keep
    running.

    Raises:
        KocoError: the new dashboard does not listen in time.
    """
    node: Any = ray._private.worker.global_worker.node
    # The dead dashboard's address is still stored and would be mistaken for the new one's.
    _internal_kv_del(DASHBOARD_ADDRESS, namespace=KV_NAMESPACE_DASHBOARD)
    port = local_head.choose_ports({"dashboard": port})["dashboard"]
    node._ray_params.dashboard_host, node._ray_params.dashboard_port = "127.0.0.1", port
    node.start_api_server(include_dashboard=True, raise_on_failure=True)
    deadline = time.monotonic() + _DASHBOARD_S
    while time.monotonic() < deadline:
        if _listens("127.0.0.1", port):
            return port
        time.sleep(_AGAIN_S)
    raise KocoError(f"Ray's dashboard does not listen on port {port} after {_DASHBOARD_S:g} s")


def why_not(address: str) -> str:
    """Return why the Ray at an address cannot be joined, or "" if it can.

    This asks the GCS, which answers at once. `ray.init` would try for a long time and then guess.
    """
    answers: list[str] = []
    # In a thread, because Ray ignores the timeout and waits much longer if nothing answers at all.
    asking = threading.Thread(target=lambda: answers.append(_why_not(address)), daemon=True)
    asking.start()
    asking.join(_LOOK_S)
    return answers[0] if answers else "it does not answer"


def _why_not(address: str) -> str:
    try:
        client = GcsClient(address=address)
        about = client.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster", timeout=_LOOK_S)
        nodes = client.get_all_node_info(timeout=_LOOK_S).values()
    except AuthenticationError:
        return "it does not know your token"
    except (RayError, RuntimeError, TimeoutError):
        return "it does not answer"
    cluster = json.loads(about or b"{}")
    theirs = f"Ray {cluster.get('ray_version')}, Python {cluster.get('python_version')}"
    ours = f"Ray {ray.__version__}, Python {platform.python_version()}"
    if theirs != ours:
        return f"it is {theirs}, not {ours}"
    heads = [each for each in nodes if each.is_head_node and not each.death_info.reason]
    if not any(_listens(each.node_manager_address, each.node_manager_port) for each in heads):
        return "its raylet is gone"
    return ""


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True
