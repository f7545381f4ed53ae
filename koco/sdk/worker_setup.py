"""Prepare each process that Ray starts for a release; Ray calls this first.

Runners, a flow's Ray tasks and actors, and replicas of endpoints are all Ray workers in the
release's environment. So this one function prepares all of them, before any of the author's code
runs. It runs before the worker has work of its own: it must not call an actor, start a task or
fetch an object. If there is nothing to do, it must cost next to nothing.
"""

import os

from koco.sdk.process import birth, crash, late_bundle, memory, ports, stacks
from koco.sdk.ray_work import calls

#: The name of the function below, for Ray's environment variable.
HOOK = "koco.sdk.worker_setup.prepare"

#: The niceness of a release's processes, as Ray's own default. The control plane has 0 on a head
#: that koco started, so it answers although flows use all processors.
NICENESS = 15

#: Environment variables: the release of a process, and the names of its secrets.
SERVICE = "KOCO_SERVICE"
RELEASE = "KOCO_RELEASE"
SECRETS = "KOCO_SECRETS"

#: Set in the processes of a release whose manifest says `runtime: {kodosumi: true}`.
KODOSUMI = "KOCO_KODOSUMI"

#: Set in the processes of a release whose manifest says `runtime: {chdir: true}`.
CHDIR = "KOCO_CHDIR"


def prepare() -> None:
    """Prepare this process. If that fails, the process runs nothing: its first task raises."""
    try:
        _prepare()
    except Exception as exc:  # noqa: BLE001 - raised again by the process's first task
        from koco.sdk.process import refusal

        refusal.refuse(exc)


def _prepare() -> None:
    birth.is_over()
    # Lower this thread's priority. The threads and processes that it starts inherit that.
    if os.getpriority(os.PRIO_PROCESS, 0) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    crash.install_in_worker(f"{os.environ.get(SERVICE)}/{os.environ.get(RELEASE)}")
    memory.restrict(memory.limit_from_environment())
    stacks.install()
    calls.install()
    ports.install()
    if os.environ.get(late_bundle.VARIABLE):
        late_bundle.fetch()
    if os.environ.get(CHDIR):
        _enter_shipped_folder()
    if os.environ.get(KODOSUMI):
        # Imported here, because most releases were not written for Kodosumi.
        from koco.sdk import import_alias

        import_alias.install()
    if os.environ.get(SECRETS):
        # Imported here, because most releases have no secrets.
        from koco.sdk.process import secrets

        secrets.load(os.environ[SERVICE], int(os.environ[RELEASE]))


def _enter_shipped_folder() -> None:
    """Make the folder of the unpacked bundle the current directory.

    Ray unpacks it once on each node, so the processes there that have the same code share it.
    """
    folder = next(iter(stacks.bundle_folders()), None)
    if folder is None:
        raise RuntimeError("the shipped folder is not in sys.path, so `chdir` cannot enter it")
    os.chdir(folder)
