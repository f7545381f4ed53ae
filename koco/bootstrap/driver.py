"""The short-lived process in which `koco up` and `koco down` use Ray.

The command line never imports Ray. It runs `python -P -m koco.bootstrap.driver` with an `Order` as
JSON on standard input. The answer is one line of JSON on standard output. Ray's own output goes to
standard error. On a cluster elsewhere a job does the same: see `koco.bootstrap.job`.
"""

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from koco.errors import KocoError

if TYPE_CHECKING:
    from koco.bootstrap.upgrade import Running
    from koco.control.start import Start

#: How long a control plane may take to answer after it has started (seconds).
_READY_S = 90.0
#: How long Ray may take to end actors (seconds).
_GONE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The command line's request to the driver."""

    action: str
    #: The address of a running Ray. Without it, the driver starts one on `ports`.
    address: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    #: A descriptor whose lock is held until Ray listens: see `koco.bootstrap.local_head.turn`.
    turn: int | None = None
    #: Whether the running Ray's dashboard has died and must be started again.
    needs_dashboard: bool = False
    #: The options that the user set for the control plane, by the names of
    #: `koco.control.start.Start`: host, port, url, data_dir, tls_cert, tls_key. A running control
    #: plane that differs from them is replaced.
    asked: dict[str, Any] = field(default_factory=dict)
    #: The values of options that the user did not set. A running control plane may differ from
    #: them.
    defaults: dict[str, Any] = field(default_factory=dict)
    #: The SHA-256 of the admin key. The key itself stays with the user.
    digest: str = ""
    recover: bool = False
    #: The control plane's settings to change: see `koco.control.settings`.
    settings: dict[str, Any] = field(default_factory=dict)
    #: The packages that the cluster lacks: see `Start.environment`.
    environment: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Carry out the order on standard input."""
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = Order(**json.load(sys.stdin))
    try:
        answer = _local(order)
    except Exception as exc:  # noqa: BLE001 - the parent turns it into its own error
        answer = told(exc)
    print(json.dumps(answer), file=answer_to, flush=True)
    # Ray's shutdown takes a second, and everything that it would clean up ends with this process.
    sys.stderr.flush()
    os._exit(0)


def told(exc: Exception) -> dict[str, Any]:
    """Return an error in the form that the command line reads.

    The traceback of an unexpected error goes to the log.
    """
    import traceback

    # Ray wraps an exception of an actor, and its text then has many lines.
    cause = getattr(exc, "cause", None) or exc
    if isinstance(cause, KocoError):
        return cause.to_wire()
    traceback.print_exception(exc)
    message = f"{type(cause).__name__}: {cause}".strip()
    return {"error": {"code": "error", "message": message.splitlines()[-1]}}


def carry_out(order: Order) -> dict[str, Any]:
    """Carry out an order in the Ray that this process has joined on the head. Return the answer.

    Raises:
        KocoError: it cannot be done.
    """
    return _up(order) if order.action == "up" else _down()


def _local(order: Order) -> dict[str, Any]:
    from koco.bootstrap import ray_start

    if order.action == "look":
        return {"why": ray_start.why_not(order.address or "")}
    address = order.address or _started(order)
    _connect(address)
    mended = order.needs_dashboard
    dashboard = ray_start.start_dashboard(order.ports["dashboard"]) if mended else None
    return {"address": address, "dashboard": dashboard, **carry_out(order)}


def _started(order: Order) -> str:
    """Start a head and return its address."""
    import fcntl

    from koco.bootstrap import ray_start

    if order.turn is None:
        return ray_start.start(order.ports)
    os.set_inheritable(order.turn, False)  # or Ray's processes would hold the lock
    address = ray_start.start(order.ports)
    fcntl.flock(order.turn, fcntl.LOCK_UN)
    return address


def _up(order: Order) -> dict[str, Any]:
    import ray

    control, done = _control(order)
    ready = ray.get(control.ready.remote(), timeout=_READY_S)
    data_dir = ready["start"]["data_dir"]
    admitted = _admits(control, order, data_dir)
    if admitted and order.settings:
        from koco.control.access import head_key

        asked = head_key.signed(data_dir, "configure", values=order.settings)
        ray.get(control.operate.remote(asked), timeout=30)
    return {"ray": ray.__version__, "admitted": admitted, **done, **ready}


def _down() -> dict[str, Any]:
    """Remove the control plane and its runners from Ray, which continues to run."""
    import ray

    from koco.sdk.process import control_client

    ended: set[str] = set()
    deadline = time.monotonic() + _GONE_S
    while present := _actors():
        if time.monotonic() > deadline:
            raise KocoError("Ray has not ended koco's actors yet", hint="`koco down` again")
        # The control plane ends first, because it would start new runners for those that end. There
        # are two if an upgrade was interrupted. Then the older one is in charge.
        if controls := {name: present[name] for name in present if control_client.generation(name)}:
            if not ended:
                # Closing is not required, because the store survives a killed process.
                with contextlib.suppress(ray.exceptions.RayError):
                    leader = min(controls, key=lambda name: control_client.generation(name) or 0)
                    ray.get(controls[leader].close.remote(), timeout=10)
            present = controls
        for name, actor in present.items():
            ray.kill(actor, no_restart=True)
            ended.add(name)
        time.sleep(0.05)
    _end_leftovers()
    return {"ended": len(ended)}


def _end_leftovers() -> None:
    """End processes that outlive their actors, for example because of a non-daemon thread.

    Ray's own Python may lack the packages for it. Then the processes stay until the next control
    plane starts.
    """
    import asyncio

    try:
        from koco.cluster import runners
    except ModuleNotFoundError:
        return
    asyncio.run(runners.kill_leftovers())


def _actors() -> dict[str, Any]:
    """Return koco's actors by name."""
    import ray

    from koco.cluster import actor_names

    found: dict[str, Any] = {}
    for entry in ray.util.list_named_actors(all_namespaces=True):
        if entry["namespace"] == actor_names.NAMESPACE:
            with contextlib.suppress(ValueError):  # it ended between the two calls
                found[entry["name"]] = ray.get_actor(entry["name"], namespace=actor_names.NAMESPACE)
    return found


def _connect(address: str) -> None:
    import ray
    from ray.job_config import JobConfig

    from koco import code_digest
    from koco.cluster import actor_names

    # If PYTHONPATH names this koco, Ray's workers must use it even if Ray was started without it.
    path = [str(code_digest.HERE.parent)]
    path = path if path[0] in os.environ.get("PYTHONPATH", "").split(os.pathsep) else []
    try:
        ray.init(
            address=address,
            namespace=actor_names.NAMESPACE,
            job_config=JobConfig(_py_driver_sys_path=path),
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError) as exc:
        raise KocoError(
            f"cannot join the Ray at {address}: {exc}",
            hint="`koco up` needs the very Ray and Python versions that the cluster runs",
        ) from exc


def _control(order: Order) -> tuple[Any, dict[str, Any]]:
    """Return the control plane's actor, as ordered, and `{started, replaced}`.

    `started` is whether there was none before. `replaced` is the version that it was upgraded
    from, or None.
    """
    from koco.bootstrap import upgrade

    there = upgrade.running(ready_s=_READY_S)
    if there is None:
        return _made(_start(order), 1), {"started": True, "replaced": None}
    start = _start(order, former=there.start)
    upgrade.refuse_elsewhere(there, start)
    if upgrade.is_asked(there, start) or _refuses(there, order):
        return there.handle, {"started": False, "replaced": None}
    new = upgrade.replace(there, lambda number: _made(start, number), ready_s=_READY_S)
    return new, {"started": False, "replaced": there.version}


def _admits(control: Any, order: Order, data_dir: str) -> bool:
    """Return whether a control plane knows the order's key, or accepts it as the admin key."""
    import ray

    from koco.control.access import head_key

    digest = bytes.fromhex(order.digest)
    # The control plane of an older koco asks for no proof.
    is_older = not hasattr(control, "operate")
    asked = control.admit.remote(digest, recover=order.recover and is_older)
    if ray.get(asked, timeout=30) or is_older:
        return bool(ray.get(asked))
    signed = head_key.signed(data_dir, "admit", digest=digest, recover=order.recover)
    return bool(ray.get(control.operate.remote(signed), timeout=30))


def _refuses(there: "Running", order: Order) -> bool:
    """Return whether a control plane belongs to another admin and so must not be changed.

    A control plane that cannot answer, for example because its store does not open, may be
    repaired by any admin.
    """
    from ray.exceptions import RayError

    try:
        return not _admits(there.handle, order, there.start.data_dir)
    except RayError:
        return False


def _start(order: Order, *, former: "Start | None" = None) -> "Start":
    """Return the options that a new control plane starts with.

    Options that the order does not set are those of the `former` control plane, if there is one.

    Raises:
        KocoError: the options do not work on this head.
    """
    import msgspec
    import ray

    from koco import code_digest
    from koco.bootstrap import machine_check
    from koco.control.start import Start

    were = msgspec.to_builtins(former) if former else {}
    wanted = {**order.defaults, **were, **order.asked}
    node = ray.util.get_node_ip_address()
    cert, key = machine_check.tls(wanted.get("tls_cert"), wanted.get("tls_key"))
    host, port = wanted.get("host") or node, int(wanted["port"])
    if former is None or (host, port) != (former.host, former.port):
        machine_check.require_free(host, port)
    if former and (host, port, cert) == (former.host, former.port, former.tls_cert):
        node_url, is_apart = former.node_url, former.nodes_apart
    else:
        node_url, is_apart = machine_check.for_nodes(
            host, port, node=node, is_encrypted=cert is not None
        )
    return Start(
        data_dir=machine_check.folder(wanted.get("data_dir")),
        host=host,
        port=port,
        url=wanted["url"],
        node_url=node_url,
        nodes_apart=is_apart,
        tls_cert=cert,
        tls_key=key,
        environment=order.environment,
        code=code_digest.digest(),
    )


def _made(start: "Start", generation: int) -> Any:
    """Start a control plane as an actor. If another call was faster, return that call's actor."""
    import msgspec
    import ray

    from koco.api.app import create_app
    from koco.api.node_app import only_for_nodes
    from koco.control.actor import ControlPlane
    from koco.sdk.process import control_client

    return (
        ray.remote(ControlPlane)
        .options(
            name=control_client.name(generation),
            namespace=control_client.NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=100_000,
            num_cpus=0,
            enable_task_events=False,
            # On the head, because its store is there.
            resources={"node:__internal_head__": 0.001},
            runtime_env=start.environment,
        )
        .remote(msgspec.msgpack.encode(start), create_app, only_for_nodes)
    )


if __name__ == "__main__":
    main()
