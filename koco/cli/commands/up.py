"""`koco up`: a control plane on this machine, or on a Ray cluster elsewhere."""

from typing import Annotated, Any

import typer

from koco.errors import UsageError


def command(
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="URL", help="The dashboard of a Ray cluster to bring it to."),
    ] = None,
    ray_token: Annotated[
        str | None,
        typer.Option(
            "--ray-token",
            metavar="-",
            help="Ray's token: `-` reads it from stdin. Left out, it is found as Ray finds it.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="With --ray: what to call the context.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the API (default 8400, here maybe a free one).")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where users reach the API, if not there.")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the store is kept, on the head.")
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificate (PEM), on the head.")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The certificate's key (PEM), on the head.")
    ] = None,
    ca: Annotated[
        str | None, typer.Option("--ca", metavar="FILE", help="Certificates (PEM) to trust here.")
    ] = None,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Start a Ray of its own, on free ports.")
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
    """Start koco on this machine, or with --ray on a Ray cluster.

    That is Ray, where none runs, and the control plane in it. Safe to repeat:
    what runs already is left alone, or upgraded in place where it is older. The
    context `local`, or one named by the cluster's host, is written for it and
    becomes the current one.

    Example: koco up
    """
    from koco.cli.cluster import local, options, remote
    from koco.cli.terminal import output

    asked: dict[str, Any] = {
        "host": host,
        "port": port,
        "url": public_url,
        "data_dir": data_dir,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
    }
    asked = options.checked(asked, is_here=ray is None)
    common: dict[str, Any] = {
        "ca": options.checked_ca(ca),
        "recover_admin": recover_admin,
        "settings": settings or [],
    }
    if ray is not None:
        if free_ports:
            raise UsageError("--free-ports is for a Ray that is started here", hint="--port PORT")
        result = remote.up(ray, asked, token=ray_token, name=name, **common)
    else:
        options.refuse({"--name": name, "--ray-token": ray_token}, without="--ray")
        result = local.up(asked, free_ports=free_ports, **common)
    if as_json:
        output.print_json(result)
        return
    if former := result.get("replaced"):
        output.note(f"upgraded the control plane, which was koco {former}, in place")
    where = result["address"] if ray is None else result["dashboard"]
    output.note(f"Ray {result['ray']} at {where}, control plane {result['version']}")
    output.note(f"context {result['context']!r} is in {result['contexts']}")
    output.print_line(result["url"])
