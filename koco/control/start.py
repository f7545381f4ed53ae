"""The options that a control plane is started with."""

from typing import Any

import msgspec


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a control plane, from `koco up` to its process."""

    data_dir: str
    #: The URL of a PostgreSQL database, which has no password; otherwise the store is a file in the
    #: data directory.
    store: str = ""
    #: How many processes the control plane has; more than one need a store in PostgreSQL.
    api: int = 1
    #: The Ray resource of the nodes that may have the processes beside the first; otherwise any.
    api_on: str = ""
    #: A directory or `s3://BUCKET/PREFIX` for blobs; otherwise they are in the data directory.
    blobs: str = ""
    host: str = "127.0.0.1"
    port: int
    #: The URL at which users reach the API.
    url: str
    #: The URL at which the cluster's nodes reach their part of the API, without TLS.
    node_url: str = ""
    #: Whether nodes have a listener of their own: see `koco.api.node_app`.
    nodes_apart: bool = False
    #: PEM files on the head; without them the API speaks plain HTTP.
    tls_cert: str | None = None
    tls_key: str | None = None
    #: Packages that koco's processes need if the cluster lacks them: `{py_modules, pip}`.
    environment: dict[str, Any] = {}
    #: OpenTelemetry's variables (`koco.control.tracing.variables`).
    telemetry: dict[str, str] = {}
    #: The expected digest of koco's code (`koco.versions`): other code does not take over.
    code: str = ""
