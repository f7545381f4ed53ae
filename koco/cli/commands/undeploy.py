"""`koco undeploy`: remove a service."""

import time
from typing import Annotated

from koco.cli import connection
from koco.cli.inputs import prompt
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times
from koco.client.answers import ServiceInFull
from koco.client.client import Client
from koco.errors import Interrupted, TimedOutError, UsageError
from koco.plurals import counted, verbal

#: The pause between two requests for the number of open executions (seconds).
_POLL_S = 0.5


def command(
    service: Annotated[str, Argument(metavar="SERVICE", help="The service's name.")],
    cancel: Annotated[
        bool, Option("--cancel", help="Cancel its open executions, also queued ones.")
    ] = False,
    drain: Annotated[
        bool, Option("--drain", help="Refuse launches, and wait for its open executions.")
    ] = False,
    grace: Annotated[
        float,
        Option(
            metavar="SECONDS", min=0, help="With --cancel: how long executions may take to end."
        ),
    ] = 5.0,
    timeout: Annotated[
        float | None,
        Option(metavar="SECONDS", help="Stop waiting after this time; the executions go on."),
    ] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Undeploy without asking.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the service as JSON.")] = False,
) -> None:
    """Remove a service: its flows, its runners and its endpoint.

    If executions of the service have not ended, this is refused unless --drain or --cancel
    is given. Releases are kept as history, and `koco rollback` brings the last one back.

    Example: koco undeploy hello --drain --timeout 600
    """
    times.check(timeout)
    if cancel and drain:
        raise UsageError("--cancel and --drain exclude each other")
    client = connection.connect()
    found = client.service(service)
    if found["deployed"] and not yes:
        flows, release = counted(len(found["flows"]), "flow"), found["release"]
        prompt.confirm(
            f"Undeploy {service}? {flows}, release {release} {found['status']}",
            action=f"undeploy {service}",
            unchanged="nothing was undeployed",
            as_json=as_json,
        )
    running = "cancel" if cancel else "drain" if drain else "refuse"
    # Without `--yes`, remove only the confirmed release: another may have been deployed since.
    expect = None if yes else found["expect"]
    now = client.undeploy(service, running=running, grace_s=grace, expect=expect)
    existed = found["deployed"] or bool(now["executions"])  # or it was already draining
    if now["executions"]:
        now = {**_wait(client, now, timeout, drains=not cancel), "ended": now["ended"]}
    if as_json:
        output.print_json(now)
    elif existed:
        output.print_line(f"{service}  undeployed (release {found['release']})")
    else:
        output.print_line(f"{service}  not deployed")


def _wait(
    client: Client, now: ServiceInFull, timeout: float | None, *, drains: bool
) -> ServiceInFull:
    """Wait until a service has no open executions, and return the service.

    Raises:
        TimedOutError: an execution has not ended after `timeout` seconds; it goes on.
        Interrupted: Ctrl-C; the executions go on.
    """
    service, shown = now["service"], ""
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        while now["executions"]:
            left = _left(now, drains=drains)
            if left != shown:
                output.note(f"{service}: waiting for {left}")
                shown = left
            if now["deployed"]:
                output.note(f"{service}: was deployed again")
                break
            if deadline is not None and time.monotonic() > deadline:
                raise TimedOutError(
                    f"{service}: not ended within {timeout:g} s: {left}",
                    hint=f"launches are refused; `koco undeploy {service} --drain` waits again",
                )
            time.sleep(_POLL_S)
            now = client.service(service)
    except KeyboardInterrupt:
        has = verbal(sum(now["executions"].values()), "has")
        raise Interrupted(
            f"{service}: {shown} {has} not ended; launches are refused",
            hint=f"`koco undeploy {service} --drain` waits for them",
        ) from None
    return now


def _left(now: ServiceInFull, *, drains: bool) -> str:
    """Return how many executions have not ended, by status, and how many wait for a long time."""
    left = ", ".join(f"{count} {status}" for status, count in now["executions"].items())
    parked = now.get("parked", 0) if drains else 0
    return f"{left} ({parked} parked: until what they wait for comes)" if parked else left
