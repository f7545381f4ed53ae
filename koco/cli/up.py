"""`koco up`: a control plane on this machine, and a Ray for it where there is none."""

from typing import Annotated

import typer


def command(
    port: Annotated[
        int | None, typer.Option(help="Port of the API (default 8400, or a free one).")
    ] = None,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Use free ports for Ray, too, not its defaults.")
    ] = False,
    recover_admin: Annotated[
        bool,
        typer.Option("--recover-admin", help="Replace an admin key that is lost by a new one."),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Set something of the control plane, for good."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Start koco on this machine.

    That is Ray, where none runs, and the control plane in it. Safe to repeat:
    what runs already is left alone. The context `local` is written for it, and
    becomes the current one.

    Example: koco up
    """
    from koco.cli import local, output

    result = local.up(
        port=port, free_ports=free_ports, recover_admin=recover_admin, settings=settings or []
    )
    if as_json:
        output.print_json(result)
        return
    output.note(f"Ray {result['ray']} at {result['address']}, control plane {result['version']}")
    output.note(f"context 'local' is in {result['contexts']}")
    output.print_line(result["url"])
