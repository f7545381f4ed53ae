"""The names of koco's actors in Ray."""

from koco.sdk.process import control_client

#: The namespace of all of koco's actors. `koco.sdk.process.control_client` defines the control
#: plane's own names, because a flow's processes look it up as well.
NAMESPACE = control_client.NAMESPACE

_RUNNER = "runner"


def runner(service: str, release: int, runner_id: str) -> str:
    """Return the actor name of a runner."""
    return f"{_RUNNER}:{service}:{release}:{runner_id}"


def parse_runner(name: str) -> tuple[str, int, str] | None:
    """Return `(service, release, id)` of a runner's actor name, or None for any other name."""
    parts = name.split(":")
    if len(parts) != 4 or parts[0] != _RUNNER or not parts[2].isdecimal():
        return None
    return parts[1], int(parts[2]), parts[3]
