"""`koco up`: start or upgrade a control plane, on this machine or on a Ray cluster."""

from pathlib import Path
from typing import Annotated, Any

from koco.cli.cluster import local, options, remote
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.errors import UsageError


def command(
    ray: Annotated[
        str | None,
        Option("--ray", metavar="URL", help="The dashboard of a Ray cluster to start koco on."),
    ] = None,
    ray_token: Annotated[
        str | None,
        Option(
            "--ray-token",
            metavar="-",
            help="Read Ray's token from stdin [default: found as Ray finds it].",
        ),
    ] = None,
    name: Annotated[
        str | None,
        Option("--name", help="With --ray: the context's name [default: the URL's host]."),
    ] = None,
    host: Annotated[str | None, Option(help="The address to listen on.")] = None,
    port: Annotated[
        int | None,
        Option(help="The API's port [default: 8400, or a free one on this machine]."),
    ] = None,
    public_url: Annotated[
        str | None,
        Option(metavar="URL", help="The URL at which users reach the API, if it differs."),
    ] = None,
    data_dir: Annotated[
        str | None,
        Option(metavar="DIR", help="The folder for the store and files, on the head."),
    ] = None,
    store: Annotated[
        str | None,
        Option(metavar="URL", help="A PostgreSQL database for the store, instead of a file."),
    ] = None,
    blobs: Annotated[
        str | None,
        Option(
            metavar="DIR|URL",
            help="Another directory, or s3://BUCKET/PREFIX, for bundles and files.",
        ),
    ] = None,
    api: Annotated[
        int | None,
        Option(metavar="N", help="How many processes the control plane has; needs --store."),
    ] = None,
    api_on: Annotated[
        str | None,
        Option(
            metavar="RESOURCE",
            help="With --api: only nodes with this Ray resource have further processes.",
        ),
    ] = None,
    tls_cert: Annotated[
        str | None, Option(metavar="FILE", help="The TLS certificate (PEM), on the head.")
    ] = None,
    tls_key: Annotated[
        str | None,
        Option(metavar="FILE", help="The certificate's private key (PEM), on the head."),
    ] = None,
    ca: Annotated[
        str | None,
        Option("--ca", metavar="FILE", help="Also trust these certificates (PEM)."),
    ] = None,
    free_ports: Annotated[
        bool, Option("--free-ports", help="Start a separate Ray, on free ports.")
    ] = False,
    recover_admin: Annotated[
        bool,
        Option("--recover-admin", help="Replace a lost admin key with a new one."),
    ] = False,
    restore: Annotated[
        Path | None,
        Option("--restore", metavar="FILE", help="Start from a backup: see `koco backup`."),
    ] = None,
    replace_store: Annotated[
        bool,
        Option("--replace-store", help="With --restore: also if there is a store already."),
    ] = False,
    settings: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change a setting of the control plane (repeatable).",
        ),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Start koco on this machine, or on a Ray cluster with --ray.

    Starts Ray if none is running, and the control plane. It is safe to repeat: a control
    plane that is already running is left alone, or upgraded in place if it is older. The
    context `local`, or with --ray one named after the cluster's host, becomes the current
    one.

    Example: koco up
    """
    requested: dict[str, Any] = {
        "host": host,
        "port": port,
        "url": public_url,
        "data_dir": data_dir,
        "store": store,
        "api": api,
        "api_on": api_on,
        "blobs": blobs,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
    }
    requested = options.check(requested, is_here=ray is None)
    common: dict[str, Any] = {
        "ca": options.check_ca(ca),
        "recover_admin": recover_admin,
        "settings": settings or [],
    }
    if ray is not None:
        if free_ports:
            raise UsageError(
                "--free-ports does not go with --ray", hint="--port chooses the API's port"
            )
        if restore is not None:
            raise UsageError(
                "--restore does not go with --ray: the file must be on the head",
                hint="on the head, `koco up --restore FILE` restores it",
            )
        result = remote.up(ray, requested, token=ray_token, name=name, **common)
    else:
        options.refuse({"--name": name, "--ray-token": ray_token}, without="--ray")
        if replace_store and restore is None:
            raise UsageError("--replace-store needs --restore")
        backup = (restore, replace_store) if restore else None
        result = local.up(requested, free_ports=free_ports, backup=backup, **common)
    if as_json:
        output.print_json(result)
        return
    if former := result.get("replaced"):
        output.note(f"upgraded the control plane in place, from koco {former}")
    for member in result.get("members", ()):
        if why := member["error"]:
            output.note(f"{member['name']} has not started yet: {why}")
        else:
            output.note(f"{member['name']} is at {member['url']}")
    where = result["address"] if ray is None else result["dashboard"]
    output.note(f"Ray {result['ray']} at {where}, control plane {result['version']}")
    output.note(f"context {result['context']!r} is in {result['contexts']}")
    output.print_line(result["url"])
