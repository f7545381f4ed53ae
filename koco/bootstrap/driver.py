"""The process in which `koco up` and `koco down` touch Ray: started, done, gone.

The command line never imports Ray. It runs `python -P -m koco.bootstrap.driver` with an
`Order` as JSON on standard input; one line of JSON on standard output answers.
What Ray prints goes to standard error. On another's cluster a job does the same:
see `koco.bootstrap.job`.
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

#: How long a control plane may take to answer after its start (seconds).
_READY_S = 90.0
#: How long Ray may take to end actors (seconds).
_GONE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do."""

    action: str
    #: A running Ray's; without it one is started on `ports`.
    address: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    #: A descriptor whose lock is held until Ray listens: see `koco.bootstrap.local_head.turn`.
    turn: int | None = None
    #: Whether the running Ray's dashboard has died and is to be started again.
    needs_dashboard: bool = False
    #: What was asked of the control plane, by the names of `koco.control.start.Start`: host,
    #: port, url, data_dir, tls_cert, tls_key. One that runs and differs is not as asked.
    asked: dict[str, Any] = field(default_factory=dict)
    #: What it starts with where nothing else was asked. One that runs may differ.
    defaults: dict[str, Any] = field(default_factory=dict)
    #: The SHA-256 of the admin key: the key itself stays with the user.
    digest: str = ""
    recover: bool = False
    #: What to set of the control plane: see `koco.control.settings`.
    settings: dict[str, Any] = field(default_factory=dict)
    #: What the cluster lacks: see `Start.environment`.
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
    # Ray's farewell takes a second. What it would tidy up ends with this process anyway.
    sys.stderr.flush()
    os._exit(0)


def told(exc: Exception) -> dict[str, Any]:
    """Return an error as the command line reads it; what is unforeseen stands whole in the log."""
    import traceback

    # Ray wraps what an actor raises, and its text is many lines then.
    cause = getattr(exc, "cause", None) or exc
    if isinstance(cause, KocoError):
        return cause.to_wire()
    traceback.print_exception(exc)
    message = f"{type(cause).__name__}: {cause}".strip()
    return {"error": {"code": "error", "message": message.splitlines()[-1]}}


def carry_out(order: Order) -> dict[str, Any]:
    """Do what was ordered in the Ray that this process has joined, on the head; return the answer.

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
    """Start a head; return its address."""
    import fcntl

    from koco.bootstrap import ray_start

    if order.turn is None:
        return ray_start.start(order.ports)
    os.set_inheritable(order.turn, False)  # Ray's processes would hold the lock while they live
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
    """Take the control plane and its runners away from a Ray that goes on."""
    import ray

    from koco.sdk.process import control_client

    ended: set[str] = set()
    deadline = time.monotonic() + _GONE_S
    while present := _actors():
        if time.monotonic() > deadline:
            raise KocoError("Ray has not ended koco's actors yet", hint="`koco down` again")
        # The control plane first: it would start new runners for those that go. There are two
        # where an upgrade was cut short; the older one has the say.
        if controls := {name: present[name] for name in present if control_client.generation(name)}:
            if not ended:
                # A courtesy: the store survives a process that is killed.
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
    """End processes that outlive their actors, as a thread that is no daemon makes them.

    Ray's own Python may lack what that needs. Then they stay until the next control plane starts.
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
            with contextlib.suppress(ValueError):  # it ended between the two questions
                found[entry["name"]] = ray.get_actor(entry["name"], namespace=actor_names.NAMESPACE)
    return found


def _connect(address: str) -> None:
    import ray
    from ray.job_config import JobConfig

    from koco import code_digest
    from koco.cluster import actor_names

    # A koco that PYTHONPATH names is what is meant, also where Ray was started without it.
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

    `started` says whether there was none, `replaced` the version that it was upgraded from.
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
    """Say whether a control plane knows the order's key, or takes it as the admin key."""
    import ray

    from koco.control.access import head_key

    digest = bytes.fromhex(order.digest)
    # That of an older koco asks for no proof.
    is_older = not hasattr(control, "operate")
    asked = control.admit.remote(digest, recover=order.recover and is_older)
    if ray.get(asked, timeout=30) or is_older:
        return bool(ray.get(asked))
    signed = head_key.signed(data_dir, "admit", digest=digest, recover=order.recover)
    return bool(ray.get(control.operate.remote(signed), timeout=30))


def _refuses(there: "Running", order: Order) -> bool:
    """Say whether a control plane has an admin who is somebody else: nothing of it is changed then.

    One that cannot say, as where its store does not open, keeps nobody from mending it.
    """
    from ray.exceptions import RayError

    try:
        return not _admits(there.handle, order, there.start.data_dir)
    except RayError:
        return False


def _start(order: Order, *, former: "Start | None" = None) -> "Start":
    """Return what a new control plane starts with, as far as this head can do it.

    What is not asked otherwise is as it was, where there is a `former` one.

    Raises:
        KocoError: it cannot.
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
    """Have Ray start a control plane; where another call was first, that one's is returned."""
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
            # On the head: that is where its store is.
            resources={"node:__internal_head__": 0.001},
            runtime_env=start.environment,
        )
        .remote(msgspec.msgpack.encode(start), create_app, only_for_nodes)
    )


if __name__ == "__main__":
    main()
