"""`koco mcp`: let desktop and coding agents call flows, over stdin and stdout."""

import os
import sys
from enum import StrEnum
from typing import Annotated

from koco.cli import connection
from koco.cli.mcp import client_config
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.client import context_file
from koco.errors import UnreachableError

ClientName = StrEnum("ClientName", {name: name for name in client_config.CLIENTS})  # type: ignore[misc]


def command(
    service: Annotated[
        str | None,
        Option(
            "--service", metavar="SERVICE", help="Only this service's flows, by their short names."
        ),
    ] = None,
    operate: Annotated[
        bool,
        Option(
            "--operate",
            help="Also tools to develop flows: plan, deploy, run, logs, ps, result, rollback, "
            "doctor.",
        ),
    ] = False,
    plain_names: Annotated[
        bool,
        Option(
            "--plain-names",
            help="Name tools service_flow, for clients that refuse dots and dashes.",
        ),
    ] = False,
    print_config: Annotated[
        ClientName | None,
        Option(
            "--print-config",
            metavar="CLIENT",
            help=f"Print how to add this to a client: {', '.join(client_config.CLIENTS)}.",
        ),
    ] = None,
) -> None:
    """Serve flows as tools to agents on this machine, over MCP.

    The agent starts this command, and talks to it on stdin and stdout. It forwards
    to the current context's control plane, with that context's key and nothing
    more. If the control plane restarts, calls go on.

    Example: koco mcp --print-config claude-code
    """
    if print_config is not None:
        client = client_config.CLIENTS[print_config.value]
        line = client_config.command_line(
            _options(),
            service=service,
            operates=operate,
            has_plain_names=plain_names or client.needs_plain_names,
        )
        home = os.environ.get("KOCO_HOME", "").strip()
        output.note(f"{client.place}:")
        output.print_line(
            client.render(line, {"KOCO_HOME": str(context_file.home())} if home else {})
        )
        return
    path = f"/mcp/{service}" if service else "/mcp"
    _serve(path, operates=operate, has_plain_names=plain_names)


def _options() -> list[str]:
    """Return the options that choose the control plane: an agent lacks this shell's environment.

    Without any, it is the one that `koco context use` has chosen, whatever that is at the time.

    Raises:
        NotFoundError: there is no such context.
    """
    choice = connection.choice()
    is_bare = choice.by == "KOCO_URL"
    if is_bare or context_file.key_of_environment():
        names = "KOCO_URL and KOCO_KEY" if is_bare else "KOCO_KEY"
        output.warn(
            f"an agent that starts this does not see {names} of this shell",
            hint="`koco login URL` saves a control plane and a key; `--context NAME` selects it",
        )
    if is_bare:
        return []
    try:
        name = connection.context().name
    except UnreachableError as exc:
        output.warn(exc.message, hint=exc.hint or "")
        return []
    return [] if choice.by == "contexts.toml" else ["--context", name]


def _serve(path: str, *, operates: bool, has_plain_names: bool) -> None:
    from koco.cli.mcp.forwarder import Forwarder  # httpx
    from koco.cli.mcp.operations import Operations

    if output.is_terminal(sys.stdin):
        output.note("this talks to agents, not to people: `koco mcp --print-config CLIENT`")

    def write(line: bytes) -> None:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    with connection.connect() as client:
        operations = Operations(connection.options()) if operates else None
        forwarder = Forwarder(
            client.transport,
            write,
            path=path,
            operations=operations,
            has_plain_names=has_plain_names,
        )
        forwarder.serve(iter(sys.stdin.buffer.readline, b""))
