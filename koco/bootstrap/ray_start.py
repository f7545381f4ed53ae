"""Start a head on this machine, restart its dashboard, and check a running Ray."""

import json
import os
import platform
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._private.ray_constants import (
    DASHBOARD_ADDRESS,
    KV_NAMESPACE_DASHBOARD,
    RAY_WORKER_NICENESS,
    SETUP_WORKER_FILENAME,
)
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # in C
from ray.exceptions import AuthenticationError, RayError
from ray.experimental.internal_kv import _internal_kv_del

from koco.bootstrap import local_head
from koco.bootstrap.worker import fork_server, setup_worker
from koco.client import context_file
from koco.errors import KocoError

#: How long a Ray may take to answer a check (seconds).
_LOOK_S = 5.0
#: How long a dashboard may take to listen (seconds).
_DASHBOARD_S = 30.0
_AGAIN_S = 0.05
#: The ports of workers, first and last, as `ray start` chooses them.
_WORKER_PORTS = (10002, 19999)


def start(ports: dict[str, int]) -> str:
    """Start a head that only this machine can reach. Return its address.

    It starts as `ray start --head` would, which cannot be called here: it imports Ray Serve, the
    Jobs API and more first, for its other commands. There is no server for Ray Client (`ray://`),
    and Ray's copies of workers' output are not made, because flows' output goes to the event
    stream.

    Raises:
        Exception: Ray does not start, for many reasons of its own.
    """
    # Ray gives all its workers niceness 15, the control plane among them. On a busy machine it
    # would then answer late. `koco.sdk.worker_setup` lowers the priority of flows instead.
    os.environ.setdefault(RAY_WORKER_NICENESS, "0")
    ensure_token_if_auth_enabled(create_token_if_missing=False)
    parameters = RayParams(
        node_ip_address="127.0.0.1",
        gcs_server_port=ports["gcs"],
        dashboard_host="127.0.0.1",
        dashboard_port=ports["dashboard"],
        dashboard_agent_listen_port=ports["agent"],
        min_worker_port=_WORKER_PORTS[0],
        max_worker_port=_WORKER_PORTS[1],
        include_log_monitor=False,
        setup_worker_path=str(_own_setup_worker()),
    )
    Node(parameters, head=True, shutdown_at_exit=False, spawn_reaper=False)
    return f"127.0.0.1:{ports['gcs']}"


def _own_setup_worker() -> Path:
    """Return the script that starts workers in their environments.

    It is a copy in koco's directory, because Ray needs it as long as the head runs, whichever koco
    is installed meanwhile.
    """
    folder: Path = context_file.home() / "ray"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for source in (fork_server.__file__, setup_worker.__file__):
        path = folder / Path(source).name
        new = path.with_suffix(f".{os.getpid()}")
        shutil.copyfile(source, new)
        new.replace(path)  # another head may be using it
    return folder / str(SETUP_WORKER_FILENAME)


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


def why_not(address: str, *, within_s: float = _LOOK_S) -> str:
    """Return why the Ray at an address cannot be joined, or "" if it can.

    This asks the GCS, which answers at once. `ray.init` would try for a long time and then guess.
    """
    answers: list[str] = []
    # In a thread, because Ray ignores the timeout and waits much longer if nothing answers at all.
    asking = threading.Thread(
        target=lambda: answers.append(_why_not(address, within_s)), daemon=True
    )
    asking.start()
    asking.join(within_s)
    return answers[0] if answers else f"it has not answered for {within_s:g} s"


def _why_not(address: str, within_s: float) -> str:
    try:
        client = GcsClient(address=address)
        about = client.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster", timeout=within_s)
        nodes = client.get_all_node_info(timeout=within_s).values()
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
