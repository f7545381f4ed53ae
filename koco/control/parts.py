"""The parts of a running control plane, as the API sees them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from koco.cluster.placement import Node
from koco.cluster.work import Item
from koco.control.attempts import Attempts
from koco.control.audit import Audit
from koco.control.bundles import Bundles
from koco.control.catalog import Catalog
from koco.control.deployer import Deployer
from koco.control.disk import Disk
from koco.control.endpoints import Endpoints
from koco.control.files import Files
from koco.control.keys import Keys
from koco.control.launches import Launches
from koco.control.leftovers import Leftovers
from koco.control.locks import Locks
from koco.control.rates import Rates
from koco.control.release_tokens import ReleaseTokens
from koco.control.schedules import Schedules
from koco.control.sessions import Sessions
from koco.control.settings import Settings
from koco.control.spooler import Spooler
from koco.control.streams import Streams
from koco.control.supervisor import Supervisor
from koco.control.users import Users
from koco.control.vault import Vault
from koco.store.protocol import Store


class Cluster(Protocol):
    """What the API asks of Ray."""

    async def describe(self) -> dict[str, Any]:
        """Return `{version, nodes: [{id, address, alive, resources, free, labels}], restarts}`."""
        ...

    async def nodes(self) -> list[Node]:
        """Return the nodes as they are now."""
        ...

    async def work(self) -> list[Item]:
        """Return the Ray tasks and actors of releases that are at work, no older than a moment."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """One control plane."""

    store: Store
    disk: Disk
    spooler: Spooler
    supervisor: Supervisor
    deployer: Deployer
    catalog: Catalog
    bundles: Bundles
    files: Files
    endpoints: Endpoints
    keys: Keys
    users: Users
    sessions: Sessions
    attempts: Attempts
    locks: Locks
    launches: Launches
    schedules: Schedules
    vault: Vault
    release_tokens: ReleaseTokens
    audit: Audit
    cluster: Cluster
    #: Sends events as runners do: by a call to the control plane's actor.
    send: Callable[[bytes], Awaitable[bytes]]
    settings: Settings
    streams: Streams
    rates: Rates
    url: str
    #: Where nodes and flows reach what is theirs of it.
    node_url: str
    #: The digest of koco's code that runs: see `koco.code`.
    code: str
    started: str
    store_path: str
    leftovers: Leftovers
    heartbeat_s: float = 10.0
