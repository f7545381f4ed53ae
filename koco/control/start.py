"""What a control plane is started with."""

from typing import Any

import msgspec


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a control plane, from `koco up` to its process."""

    data_dir: str
    host: str = "127.0.0.1"
    port: int
    #: Where users reach the API.
    url: str
    #: Where the cluster's nodes reach what is theirs of it, in clear.
    node_url: str = ""
    #: Whether that is another listener than the API's: see `koco.api.node_app`.
    nodes_apart: bool = False
    #: PEM files on the head; without them the API speaks plain HTTP.
    tls_cert: str | None = None
    tls_key: str | None = None
    #: What processes of koco's need where the cluster lacks it: `{py_modules, pip}`.
    environment: dict[str, Any] = {}
    #: The digest of koco's code that is meant (`koco.code_digest`): other code does not take over.
    code: str = ""
