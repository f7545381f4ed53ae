"""What Ray calls first in each process that it starts for a release.

Runners, Ray tasks and actors of flows, and replicas of endpoints are all Ray workers in the
release's environment, so this one function prepares all of them, before any code of the
author's. It runs before the worker has work of its own: it must not call an actor, start a task
or fetch an object, and where there is nothing to do it must cost next to nothing.
"""

import os

from koco.sdk import calls, crash, memory, memory_errors, ports, stacks

#: The function below as Ray's environment variable names it.
HOOK = "koco.sdk.worker_setup.prepare"

#: Environment variables: which release a process is of, and the names of its secrets.
SERVICE = "KOCO_SERVICE"
RELEASE = "KOCO_RELEASE"
SECRETS = "KOCO_SECRETS"


def prepare() -> None:
    """Prepare this process. If that fails, it runs nothing: its first task raises the failure."""
    try:
        _prepare()
    except Exception as exc:  # noqa: BLE001 - raised again where the process is given work
        from koco.sdk import refusal

        refusal.refuse(exc)


def _prepare() -> None:
    crash.install_in_worker(f"{os.environ.get(SERVICE)}/{os.environ.get(RELEASE)}")
    memory.restrict(memory.asked())
    memory_errors.install()
    stacks.install()
    calls.install()
    ports.install()
    if os.environ.get(SECRETS):
        # Here, not above: most releases have none.
        from koco.sdk import secrets

        secrets.equip()
