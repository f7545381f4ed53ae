"""`koco up` in a process that has joined Ray: start, upgrade or keep the control plane."""

import os
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError

from koco import versions
from koco.bootstrap import blobs_check, machine_check, members, plane_api, upgrade
from koco.bootstrap.order import Order
from koco.bootstrap.upgrade import Running
from koco.control.access import head_key
from koco.control.actor import ControlPlane
from koco.control.members import places
from koco.control.start import Start
from koco.control.tracing import variables
from koco.sdk.process import control_client

#: Keeps the first process on the head, because a store in a file is there.
ON_HEAD = {"node:__internal_head__": 0.001}
#: How long a control plane may take to answer after it has started (seconds).
_READY_S = 90.0


def up(order: Order) -> dict[str, Any]:
    """Make the control plane run as ordered; return what the command line reports.

    Raises:
        KocoError: it cannot be done.
    """
    control, generation, done = _control(order)
    ready = ray.get(control.ready.remote(), timeout=_READY_S)
    data_dir = ready["start"]["data_dir"]
    admitted = _admits(control, order, data_dir)
    if admitted and order.settings:
        signed = head_key.sign_request(data_dir, "configure", values=order.settings)
        ray.get(control.operate.remote(signed), timeout=30)
    start = msgspec.convert(ready["start"], Start)
    started = members.start(
        start, generation, lambda number: _start_actor(start, generation, number)
    )
    return {"ray": ray.__version__, "admitted": admitted, "members": started, **done, **ready}


def _control(order: Order) -> tuple[Any, int, dict[str, Any]]:
    """Return the control plane's actor, as ordered, its generation, and `{started, replaced}`.

    `started` is whether there was none before. `replaced` is the version that it was upgraded
    from, or None.
    """
    there = upgrade.running(ready_s=_READY_S)
    if there is None:
        return _start_actor(_options(order), 1), 1, {"started": True, "replaced": None}
    start = _options(order, former=there.start)
    upgrade.refuse_elsewhere(there, start)
    if upgrade.is_asked(there, start) or _refuses(there, order):
        return there.handle, there.generation, {"started": False, "replaced": None}
    new = upgrade.replace(there, lambda number: _start_actor(start, number), ready_s=_READY_S)
    return new, there.generation + 1, {"started": False, "replaced": there.version}


def _admits(control: Any, order: Order, data_dir: str) -> bool:
    """Return whether a control plane knows the order's key, or accepts it as the admin key."""
    digest = bytes.fromhex(order.digest)
    # The control plane of an older koco asks for no proof.
    is_older = not hasattr(control, "operate")
    admitted = control.admit.remote(digest, recover=order.recover and is_older)
    if ray.get(admitted, timeout=30) or is_older:
        return bool(ray.get(admitted))
    signed = head_key.sign_request(data_dir, "admit", digest=digest, recover=order.recover)
    return bool(ray.get(control.operate.remote(signed), timeout=30))


def _refuses(there: Running, order: Order) -> bool:
    """Return whether a control plane belongs to another admin and so must not be changed.

    A control plane that cannot answer, for example because its store does not open, may be
    repaired by any admin.
    """
    try:
        return not _admits(there.handle, order, there.start.data_dir)
    except RayError:
        return False


def _options(order: Order, *, former: Start | None = None) -> Start:
    """Return the options that a new control plane starts with.

    Options that the order does not set are those of the `former` control plane, if there is one.

    Raises:
        KocoError: the options do not work on this head.
    """
    were = msgspec.to_builtins(former) if former else {}
    wanted = {**order.defaults, **were, **order.asked}
    node = ray.util.get_node_ip_address()
    store = machine_check.store(wanted.get("store"))
    api = machine_check.processes(wanted.get("api"), store, asked_on=order.asked.get("api_on"))
    cert, key = machine_check.tls(wanted.get("tls_cert"), wanted.get("tls_key"))
    host, port = wanted.get("host") or node, int(wanted["port"])
    if former is None or (host, port) != (former.host, former.port):
        machine_check.require_free(host, port)
    if former and (host, port, cert) == (former.host, former.port, former.tls_cert):
        node_url, is_apart = former.node_url, former.nodes_apart
    else:
        node_url, is_apart = places.for_nodes(host, port, node=node, is_encrypted=cert is not None)
    data_dir = machine_check.folder(wanted.get("data_dir"))
    return Start(
        data_dir=data_dir,
        store=store,
        blobs=blobs_check.place(wanted.get("blobs"), data_dir),
        api=api,
        api_on=wanted.get("api_on") or "",
        host=host,
        port=port,
        url=wanted["url"],
        node_url=node_url,
        nodes_apart=is_apart,
        tls_cert=cert,
        tls_key=key,
        environment=order.environment,
        telemetry=variables.asked(os.environ) or (former.telemetry if former else {}),
        code=versions.code_digest(),
    )


def _start_actor(start: Start, generation: int, number: int = 0) -> Any:
    """Start a process of a control plane as an actor: the first, or a member by its number.

    If another call was faster, return that call's actor.

    Raises:
        StoreError: its store's database cannot be reached.
    """
    if start.store and not number:
        from koco.bootstrap import store_check  # the repositories and the database's driver

        store_check.reach(start.store)
    first = {"name": control_client.name(generation), "resources": ON_HEAD}
    options = members.options(start, generation, number) if number else first
    return (
        ray.remote(ControlPlane)
        .options(
            **options,
            namespace=control_client.NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=100_000,
            num_cpus=0,
            enable_task_events=False,
            runtime_env=start.environment,
        )
        .remote(msgspec.msgpack.encode(start), plane_api.make_app, plane_api.only_for_nodes)
    )
