"""Find out why a Serve application did not come up, from its author's own traceback lines."""

import re
from dataclasses import dataclass
from typing import Any

from koco.errors import KocoError


class ApplicationFailed(KocoError):  # noqa: N818 - a fact about the world, not a mistake
    """An application did not come up; `detail` is the traceback of its author's code."""

    code = "application_failed"

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail


def read_failure(found: dict[str, Any]) -> ApplicationFailed:
    """Return why an application did not come up, reduced to its author's own traceback lines."""
    texts = [str(each.get("message") or "") for each in found.get("deployments", {}).values()]
    text = next((each for each in texts if "Traceback" in each), str(found["message"]))
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    head, mark, last = text.rpartition("Traceback (most recent call last):")
    if not mark:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return ApplicationFailed(lines[-1] if lines else "Serve gave no reason")
    detail = mark + "\n" + _keep_authors_frames(last)
    said = [line for line in last.splitlines() if line.strip() and not line.startswith(" ")]
    return ApplicationFailed(said[-1].strip() if said else head.strip(), detail=detail)


@dataclass(frozen=True, slots=True)
class Request:
    """The resources and labels that each replica of a deployment asks for.

    `text` describes the missing replicas.
    """

    text: str
    resources: dict[str, float]
    labels: dict[str, str]


def missing_requests(found: dict[str, Any]) -> list[Request]:
    """Return the requests of an application's replicas that do not run yet."""
    wanted: list[Request] = []
    for name, each in found.get("deployments", {}).items():
        options = (each.get("deployment_config") or {}).get("ray_actor_options") or {}
        amounts = {"CPU": options.get("num_cpus"), "GPU": options.get("num_gpus")}
        amounts |= {"memory": options.get("memory"), **(options.get("resources") or {})}
        labels = options.get("label_selector") or {}
        resources = {key: amount for key, amount in amounts.items() if amount}
        if (missing := _describe_missing(name, each)) and (resources or labels):
            wanted.append(Request(missing, resources, labels))
    return wanted


def describe_waiting(found: dict[str, Any]) -> str:
    """Return Serve's messages about an application, and the requests of its missing replicas."""
    lines: list[str] = []
    for name, each in found.get("deployments", {}).items():
        lines += filter(
            None, (str(each.get("message") or "").strip(), _describe_missing(name, each))
        )
    return "\n".join(lines)


def _describe_missing(name: str, deployment: dict[str, Any]) -> str:
    """Describe how many replicas of a deployment run and what each asks for; "" if all run."""
    states = [str(replica.get("state")) for replica in deployment.get("replicas") or ()]
    wanted = deployment.get("target_num_replicas") or len(states)
    if (count := states.count("RUNNING")) >= wanted:
        return ""
    asks = _describe_request(
        (deployment.get("deployment_config") or {}).get("ray_actor_options") or {}
    )
    return f"{count} of {wanted} replicas of {name} run{asks}"


def _describe_request(options: dict[str, Any]) -> str:
    amounts = {
        "CPU": options.get("num_cpus"),
        "GPU": options.get("num_gpus"),
        "bytes of memory": options.get("memory"),
        **(options.get("resources") or {}),
    }
    parts = [f"{amount:g} {name}" for name, amount in amounts.items() if amount]
    parts += [f"{name}: {value}" for name, value in (options.get("label_selector") or {}).items()]
    return f"; each asks for {', '.join(parts)}" if parts else ""


def _keep_authors_frames(frames: str) -> str:
    """Drop Serve's and koco's frames before the author's, and the path of the bundle's folder."""
    # The path goes first, because it contains `/ray/` and its frames would count as Ray's.
    frames = re.sub(r'[^\s"]*/py_modules_files/[^/"]+/', "", frames.strip("\n"))
    blocks = [each for each in re.split(r"(?m)^(?=  File )", frames) if each]
    while len(blocks) > 1 and re.match(r'  File "[^"]*(/ray/|/koco/sdk/|importlib)', blocks[0]):
        blocks.pop(0)
    return "".join(blocks).rstrip()
