"""The parts of a running control plane, as the API sees them."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koco.control.access.audit import Audit
from koco.control.access.keys import Keys
from koco.control.access.login_throttle import Attempts
from koco.control.access.open_streams import Streams
from koco.control.access.rate_limit import Rates
from koco.control.access.sessions import Sessions
from koco.control.access.users import Users
from koco.control.backup.making import Backups
from koco.control.cluster_overview import Overview
from koco.control.deploy.deployer import Deployer
from koco.control.events.spooler import Spooler
from koco.control.executions.files import Files
from koco.control.executions.history import Histories
from koco.control.executions.launcher import Launches
from koco.control.executions.leftovers import Leftovers
from koco.control.executions.locks import Locks
from koco.control.executions.scheduling.orders import ScheduleOrders
from koco.control.executions.scheduling.schedules import Schedules
from koco.control.executions.supervisor import Supervisor
from koco.control.executions.waits import Waits
from koco.control.leadership import Leadership
from koco.control.payments.payments import Payments
from koco.control.services.bundles import Bundles
from koco.control.services.catalog import Catalog
from koco.control.services.endpoint_client import Endpoints
from koco.control.services.release_tokens import ReleaseTokens
from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.control.start import Start
from koco.control.storage.chunked import ChunkedUploads
from koco.control.storage.disk import Disk
from koco.control.tracing.exporter import Exporter
from koco.control.webhooks.orders import Webhooks
from koco.store.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one control plane."""

    store: Store
    disk: Disk
    spooler: Spooler
    supervisor: Supervisor
    deployer: Deployer
    catalog: Catalog
    bundles: Bundles
    files: Files
    chunked: ChunkedUploads
    endpoints: Endpoints
    keys: Keys
    users: Users
    sessions: Sessions
    attempts: Attempts
    locks: Locks
    waits: Waits
    histories: Histories
    launches: Launches
    payments: Payments
    schedules: Schedules
    schedule_orders: ScheduleOrders
    vault: Vault
    release_tokens: ReleaseTokens
    audit: Audit
    backups: Backups
    cluster: Overview
    #: Sends events as runners do, by calling the control plane's actor.
    send: Callable[[bytes], Awaitable[bytes]]
    settings: Settings
    streams: Streams
    rates: Rates
    #: The options that this process was started with.
    start: Start
    url: str
    #: The URL at which nodes and flows reach their part of the API.
    node_url: str
    #: The digest of the koco code that runs: see `koco.versions`.
    code: str
    started: str
    #: The folder of its files and its log, on the head.
    data_dir: Path
    leftovers: Leftovers
    webhooks: Webhooks
    traces: Exporter
    #: The background work of the process that leads.
    duties: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    #: Which process of this control plane leads.
    leadership: Leadership
    heartbeat_s: float = 10.0
