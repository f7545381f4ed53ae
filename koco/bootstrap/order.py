"""The command line's request to the process that uses Ray. It needs only the standard library."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The command line's request to the driver."""

    action: str
    #: The address of a running Ray. Without it, the driver starts one on `ports`.
    address: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    #: A descriptor whose lock is held until Ray listens: see `koco.bootstrap.local_head.turn`.
    turn: int | None = None
    #: Whether the running Ray's dashboard has died and must be started again.
    needs_dashboard: bool = False
    #: The options that the user set for the control plane, by the names of
    #: `koco.control.start.Start`: host, port, url, data_dir, store, blobs, api, api_on,
    #: tls_cert, tls_key. A running control plane that differs from them is replaced.
    asked: dict[str, Any] = field(default_factory=dict)
    #: The values of options that the user did not set. A running control plane may differ from
    #: them.
    defaults: dict[str, Any] = field(default_factory=dict)
    #: The SHA-256 of the admin key. The key itself stays with the user.
    digest: str = ""
    recover: bool = False
    #: The control plane's settings to change: see `koco.control.settings`.
    settings: dict[str, Any] = field(default_factory=dict)
    #: The packages that the cluster lacks: see `Start.environment`.
    environment: dict[str, Any] = field(default_factory=dict)
