"""`koco undeploy`: take a service away."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koco.plurals import counted, verbal

if TYPE_CHECKING:
    from koco.client.client import Client

#: Pause between two looks at what has not ended yet (seconds).
_LOOK_S = 0.5


def command(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The service's name.")],
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel what has not ended, what is queued too.")
    ] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="Launch nothing more, and wait for what has not ended.")
    ] = False,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="With --cancel: how long it may take over ending."
        ),
    ] = 5.0,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Wait no longer than that; what runs goes on."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service as JSON.")] = False,
) -> None:
    """Take a service away: its flows, its runners and its endpoint.

    Refuses while executions have not ended, unless --drain or --cancel says what
    becomes of them. Releases stay as history: `koco rollback` brings the last one back.

    Example: koco undeploy hello --drain --timeout 600
    """
    from koco.cli import connection
    from koco.cli.terminal import output, times
    from koco.errors import UsageError

    times.check(timeout)
    if cancel and drain:
        raise UsageError("--cancel and --drain exclude each other")
    client = connection.connect()
    found = client.service(service)
    if found["deployed"] and not yes:
        _confirm(found, as_json=as_json)
    running = "cancel" if cancel else "drain" if drain else "refuse"
    # Without `--yes`, only the confirmed release goes: another may have been deployed since.
    expect = None if yes else found["expect"]
    now = client.undeploy(service, running=running, grace_s=grace, expect=expect)
    was_there = found["deployed"] or bool(now["executions"])  # or was draining already
    if now["executions"]:
        now = {**_ended(client, now, timeout), "ended": now["ended"]}
    if as_json:
        output.print_json(now)
    elif was_there:
        output.print_line(f"{service}  undeployed (release {found['release']})")
    else:
        output.print_line(f"{service}  not deployed")


def _confirm(found: dict[str, Any], *, as_json: bool) -> None:
    """Ask whether to go on.

    Raises:
        UsageError: nobody can be asked, and `--yes` does not say so.
        Interrupted: the answer is no.
    """
    from koco.cli.inputs import prompt
    from koco.errors import Interrupted, UsageError

    service = found["service"]
    if as_json or not prompt.can_ask(False):
        raise UsageError(
            f"this would undeploy {service}, and nobody is here to be asked",
            hint="--yes undeploys without asking",
        )
    flows = counted(len(found["flows"]), "flow")
    if not prompt.agrees(
        f"Undeploy {service}? {flows}, release {found['release']} {found['status']}"
    ):
        raise Interrupted("nothing was undeployed")


def _ended(client: "Client", now: dict[str, Any], timeout: float | None) -> dict[str, Any]:
    """Wait until nothing of a service runs any more; return it as it is then.

    Raises:
        TimedOutError: something has not ended after `timeout` seconds; it goes on.
        Interrupted: Ctrl-C; it goes on.
    """
    from koco.cli.terminal import output
    from koco.errors import Interrupted, TimedOutError

    service, told = now["service"], ""
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        while now["executions"]:
            left = ", ".join(f"{count} {status}" for status, count in now["executions"].items())
            if left != told:
                output.note(f"{service}: waits for {left}")
                told = left
            if now["deployed"]:
                output.note(f"{service}: deployed again meanwhile")
                break
            if deadline is not None and time.monotonic() > deadline:
                raise TimedOutError(
                    f"{service}: not ended within {timeout:g} s: {left}",
                    hint=f"nothing new is launched; `koco undeploy {service} --drain` waits on",
                )
            time.sleep(_LOOK_S)
            now = client.service(service)
    except KeyboardInterrupt:
        has = verbal(sum(now["executions"].values()), "has")
        raise Interrupted(
            f"{service}: {told} {has} not ended; nothing new is launched",
            hint=f"`koco undeploy {service} --drain` waits for them",
        ) from None
    return now
