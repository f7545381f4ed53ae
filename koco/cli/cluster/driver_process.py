"""Send orders to `koco.bootstrap.driver`, the process that uses Ray on this machine."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from koco.bootstrap import local_head as cluster
from koco.client import context_file
from koco.errors import KocoError, UsageError, from_wire

#: A folder in the home directory, for the store and for logs.
_FOLDER = "local"
#: How long the process may take for an order (seconds), and what has not happened then.
_LIMITS = {
    "up": (180, "Ray and the control plane did not start"),
    "down": (90, "the control plane and its runners did not end"),
    "look": (30, "the Ray at {} was not found to answer"),
}


def order(action: str, here: Mapping[str, Any], address: str | None) -> dict[str, Any]:
    """Return the start of an order; `here` has the ports, `address` is that of a running Ray."""
    return {
        "action": action,
        "address": address,
        "ports": {name: int(here.get(name, 0)) for name in cluster.PORTS},
    }


#: The variables that are secret: koco's own, and those of the place of its store or its blobs.
_OWN = {"KOCO_ADMIN_KEY", "KOCO_KEY"}
_OF_PLACES = {
    "store": (("postgresql://", "postgres://"), {"PGPASSWORD"}),
    "blobs": (("s3://",), {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}),
}


def data_dir() -> Path:
    """Return the folder for the data of this machine's cluster. Create it if it is missing.

    Raises:
        UsageError: it cannot be created.
    """
    directory = context_file.home() / _FOLDER
    # Created one by one because mkdir does not apply `mode` to parents.
    try:
        for path in (context_file.home(), directory):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        what = f"cannot create {directory}: {exc.strerror}"
        raise UsageError(what, hint="set KOCO_HOME to another folder") from exc
    return directory


def carry_out(
    order: dict[str, Any], *, mark: str | None = None, pass_fds: Sequence[int] = ()
) -> dict[str, Any]:
    """Run `koco.bootstrap.driver` with an order and return its answer. `mark` marks our own Ray.

    Raises:
        KocoError: the driver failed; its log has details.
    """
    limit_s, what = _LIMITS[order["action"]]
    log, work = data_dir() / "boot.log", data_dir() / "work"
    work.mkdir(exist_ok=True, mode=0o700)
    if mark:
        env = cluster.starting_environment(mark)
    else:
        env = cluster.joining_environment(str(order["address"]))
    env = _without_secrets(env, order)
    with log.open("ab") as stderr:
        try:
            done = subprocess.run(
                # Runs in a separate folder, and with `-P`. Ray passes this process's import path on
                # to every runner, and runners must find the bundle's modules, not the user's. Ray
                # also passes on the folder, and a flow's `open("store.db", "w")` must not damage
                # anything there.
                [sys.executable, "-P", "-m", "koco.bootstrap.driver"],
                input=json.dumps(order).encode(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=work,
                env=env,
                timeout=limit_s,
                start_new_session=True,
                pass_fds=pass_fds,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            late = f"{what.format(order['address'])} within {limit_s} s"
            raise KocoError(late, hint=f"see {log}") from exc
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise _make_error(f"starting ended with exit code {done.returncode}", log) from None
    if "error" in answer:
        error = from_wire(answer)
        raise error if error.hint else _make_error(error.message, log)
    return answer


def _without_secrets(env: Mapping[str, str], order: Mapping[str, Any]) -> dict[str, str]:
    """Return an environment without koco's own secrets: every flow would inherit them from Ray.

    Keys of a bucket are in the data directory by now, a database's password is in a file.
    """
    wanted = {**order.get("defaults", {}), **order.get("asked", {})}
    secret = set(_OWN)
    for option, (schemes, names) in _OF_PLACES.items():
        if str(wanted.get(option) or "").startswith(schemes):
            secret |= names
    return {name: value for name, value in env.items() if name not in secret}


def _make_error(message: str, log: Path) -> KocoError:
    if "No module named 'ray'" in message or "No module named 'ray'" in _tail(log):
        return KocoError(
            "Ray is not installed here",
            hint="install koco with its extra `ray`: `pip install '.[ray]'` in a clone of it",
        )
    return KocoError(message, hint=f"{log} has the details")


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        return file.read().decode(errors="replace")
