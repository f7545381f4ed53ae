"""The short-lived process in which `koco up` and `koco down` use Ray.

The command line never imports Ray. It runs `python -P -m koco.bootstrap.driver` with an `Order` as
JSON on standard input. The answer is one line of JSON on standard output. Ray's own output goes to
standard error. On a cluster elsewhere a job does the same: see `koco.bootstrap.job`.

Ray is imported inside functions, because the command line imports this module through `job`.
"""

import fcntl
import json
import os
import sys
import traceback
from typing import Any

from koco import versions
from koco.bootstrap.order import Order
from koco.errors import KocoError
from koco.sdk.process import control_client

#: How long a Ray to join may take to answer (seconds). On a busy machine it may be slow.
_JOIN_S = 10.0


def main() -> None:
    """Carry out the order on standard input."""
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = Order(**json.load(sys.stdin))
    try:
        answer = _local(order)
    except Exception as exc:  # noqa: BLE001 - the parent turns it into its own error
        answer = describe_error(exc)
    print(json.dumps(answer), file=answer_to, flush=True)
    # Ray's shutdown takes a second, and everything that it would clean up ends with this process.
    sys.stderr.flush()
    os._exit(0)


def describe_error(exc: Exception) -> dict[str, Any]:
    """Return an error in the form that the command line reads.

    The traceback of an unexpected error goes to the log.
    """
    # Ray wraps an exception of an actor, and its text then has many lines.
    cause = getattr(exc, "cause", None) or exc
    if isinstance(cause, KocoError):
        return cause.to_wire()
    traceback.print_exception(exc)
    message = f"{type(cause).__name__}: {cause}".strip()
    return {"error": {"code": "error", "message": message.splitlines()[-1]}}


def _connect(address: str) -> None:
    import ray
    from ray.job_config import JobConfig

    # If PYTHONPATH names this koco, Ray's workers must use it even if Ray was started without it.
    path = [str(versions.HERE.parent)]
    path = path if path[0] in os.environ.get("PYTHONPATH", "").split(os.pathsep) else []
    try:
        ray.init(
            address=address,
            namespace=control_client.NAMESPACE,
            job_config=JobConfig(_py_driver_sys_path=path),
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError) as exc:
        raise KocoError(
            f"cannot join the Ray at {address}: {exc}",
            hint="`koco up` needs the same Ray and Python versions as the cluster",
        ) from exc


def carry_out(order: Order) -> dict[str, Any]:
    """Carry out an order in the Ray that this process has joined on the head. Return the answer.

    Raises:
        KocoError: it cannot be done.
    """
    # `down` must also work in a Python that lacks koco's requirements, which `up` needs.
    if order.action == "up":
        from koco.bootstrap.up import up

        return up(order)
    from koco.bootstrap.down import down

    return down()


def _local(order: Order) -> dict[str, Any]:
    from koco.bootstrap import ray_start

    if order.action == "look":
        return {"why": ray_start.why_not(order.address or "")}
    if order.address:
        _require_answer(order.address)
    address = order.address or _start_head(order)
    _connect(address)
    mended = order.needs_dashboard
    dashboard = ray_start.start_dashboard(order.ports["dashboard"]) if mended else None
    return {"address": address, "dashboard": dashboard, **carry_out(order)}


def _require_answer(address: str) -> None:
    """Raise if the Ray at an address cannot be joined, or is another program's port by now."""
    from koco.bootstrap import ray_start

    if why := ray_start.why_not(address, within_s=_JOIN_S):
        raise KocoError(
            f"cannot join the Ray at {address}: {why}",
            hint="does a Ray still run there? If not, nothing of koco does, and without "
            "RAY_ADDRESS `koco up` starts one",
        )


def _start_head(order: Order) -> str:
    """Start a head and return its address."""
    from koco.bootstrap import ray_start

    if order.turn is None:
        return ray_start.start(order.ports)
    os.set_inheritable(order.turn, False)  # or Ray's processes would hold the lock
    address = ray_start.start(order.ports)
    fcntl.flock(order.turn, fcntl.LOCK_UN)
    return address


if __name__ == "__main__":
    main()
