"""The driver of the job that `koco up --ray` and `koco down --ray` submit.

`python -m koco.bootstrap.job ORDER` runs on the head with the cluster's Python. It has koco's own
code, but koco's requirements may be missing. So it first finds the missing ones, with only the
standard library and Ray's own packages, and has them installed. The order is a
`koco.bootstrap.order.Order` as JSON and contains no secret. The command line reads only those
lines of the job's log that have a mark before their JSON.
"""

import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Collection
from typing import Any

from koco.bootstrap import driver
from koco.bootstrap.order import Order
from koco.errors import KocoError
from koco.versions import DISTRIBUTION

#: The marks of the lines with the answer, and with notes for the user before it.
ANSWER, NOTE = "koco-answer: ", "koco-note: "


def main() -> None:
    """Carry out the order in the argument."""
    try:
        answer = _carry_out(json.loads(sys.argv[1]))
    except Exception as exc:  # noqa: BLE001 - the command line turns it into its own error
        answer = driver.describe_error(exc)
    # One write per line, because other threads write Ray's own lines to the same log.
    os.write(1, f"\n{ANSWER}{json.dumps(answer)}\n".encode())
    os._exit(0)  # for the reason given in koco.bootstrap.driver


def _carry_out(order: dict[str, Any]) -> dict[str, Any]:
    requirements = importlib.metadata.requires(DISTRIBUTION) or []
    _check_python()
    packages = missing_packages(requirements, extras_of(order))
    environment = dict(order.get("environment", {}))
    if packages and order["action"] == "up":
        environment["pip"] = packages
        names = [re.split(r"[\[<>=!~]", package)[0] for package in packages]
        os.write(1, f"\n{NOTE}{json.dumps({'lacking': names})}\n".encode())
    import ray
    from ray.exceptions import RuntimeEnvSetupError

    ray.init(namespace="koco", log_to_driver=False, configure_logging=False)
    # A separate process with the control plane's future environment, because the job's own process
    # may lack koco's requirements.
    task = ray.remote(_on_head).options(
        num_cpus=0,
        max_retries=0,
        enable_task_events=False,
        # On the head, where the control plane will run. The job's driver may be on another node.
        resources={"node:__internal_head__": 0.001},
        runtime_env=environment,
    )
    try:
        answer: dict[str, Any] = ray.get(task.remote({**order, "environment": environment}))
    except RuntimeEnvSetupError as exc:
        raise _failed(packages, str(exc)) from exc
    return answer


def _on_head(order: dict[str, Any]) -> dict[str, Any]:
    try:
        return driver.carry_out(Order(**order))
    except Exception as exc:  # noqa: BLE001 - as above
        return driver.describe_error(exc)


def extras_of(order: dict[str, Any]) -> set[str]:
    """Return koco's extras that an ordered control plane needs."""
    options = {**order.get("defaults", {}), **order.get("asked", {})}
    is_s3 = str(options.get("blobs") or "").startswith("s3://")
    needs = {"postgresql": bool(options.get("store")), "s3": is_s3}
    return {"ray", *(extra for extra, is_needed in needs.items() if is_needed)}


def missing_packages(requirements: list[str], extras: Collection[str] = ("ray",)) -> list[str]:
    """Return koco's requirements that this Python does not meet. Ray itself is not checked."""
    from packaging.requirements import Requirement

    found: list[str] = []
    for text in requirements:
        requirement = Requirement(text)
        marker = requirement.marker
        wanted = marker is None or any(marker.evaluate({"extra": each}) for each in extras)
        if requirement.name == "ray" or not wanted:
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            parts = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            found.append(f"{requirement.name}{parts}{requirement.specifier}")
    return found


def _check_python() -> None:
    from packaging.specifiers import SpecifierSet

    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"]
    version = ".".join(map(str, sys.version_info[:3]))
    if not SpecifierSet(wanted).contains(version):
        raise KocoError(
            f"the cluster's Python is {version}, koco needs {wanted}",
            hint="start Ray there with a supported Python",
        )


def _failed(packages: list[str], text: str) -> KocoError:
    """Return an error with the installer's last error line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    return KocoError(
        f"the cluster could not install {', '.join(packages)}: {(errors or lines or ['?'])[-1]}",
        hint="can its nodes reach a package index? If not, install these packages on each",
    )


if __name__ == "__main__":
    main()
