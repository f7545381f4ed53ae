"""The API of `tests.support.api_server` with the parts that deploy and launch, without Ray."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from koco.cluster.placement import ClusterState
from koco.cluster.serve import Serve
from koco.control.deploy.deployer import Deployer
from koco.control.deploy.serve_apps import Applications
from koco.control.executions.acceptance import Acceptance
from koco.control.executions.children import Children
from koco.control.executions.history import Histories
from koco.control.executions.launcher import Launches
from koco.control.executions.leftovers import Leftovers
from koco.control.executions.locks import Locks
from koco.control.executions.scheduling.orders import ScheduleOrders
from koco.control.executions.scheduling.schedules import Schedules
from koco.control.executions.waiting.waiters import Waiters
from koco.control.executions.waits import Waits
from koco.control.payments.payment_service import PaymentService
from koco.control.payments.payments import Payments
from koco.control.services.bundles import Bundles
from koco.control.services.catalog import Catalog
from koco.control.services.endpoint_client import Endpoints
from koco.control.services.secrets import Vault
from koco.manifest import load
from koco.manifest.descriptions import FlowDescription
from koco.store.model import NewExecution, ReleaseFailure
from tests.support.api_server import Api
from tests.support.releases import flow

SHA256 = "0" * 64
MANIFEST = {"service": "svc", "flows": [{"name": "flow", "entrypoint": "m:f"}]}


async def complete(
    api: Api, *, given: dict[str, Any] | None = None, flows: Sequence[FlowDescription] = ()
) -> None:
    """Give the API the parts that deploy and launch, all but Ray's edge.

    It then serves one service, `svc`, with a manifest and flows, unless it does not lead.
    """
    parts = api.parts
    store, catalog = parts.store, Catalog()
    if parts.leadership.leads:
        await store.releases.fail("svc", 1, ReleaseFailure(message=""))
        manifest = load.check(given or {**MANIFEST, "secrets": ["A"]})
        release = await store.releases.create(
            "svc", bundle=SHA256, fingerprint="", manifest=manifest, by="ada"
        )
        catalog.put(await store.releases.go_live("svc", release.number, list(flows) or [flow()]))

    async def describe() -> ClusterState:
        return ClusterState(version="2", python="3", auth="token", nodes=[], restarts=0)

    async def nodes() -> list[Any]:
        return []

    async def send(_: bytes) -> bytes:
        raise TimeoutError

    nothing: Any = None
    parts.catalog = catalog
    parts.endpoints = Endpoints(Serve(), secret=b"e" * 32)
    parts.bundles = Bundles(parts.files.blobs, store, secret=b"b" * 32, url="")
    parts.locks = Locks(store, parts.spooler, endpoints=parts.endpoints)
    acceptance = Acceptance(
        store,
        parts.supervisor,
        catalog,
        spooler=parts.spooler,
        leadership=parts.leadership,
    )
    parts.launches = Launches(
        store, acceptance, catalog, endpoints=parts.endpoints, files=parts.files
    )
    service = PaymentService(parts.settings, parts.vault)
    parts.payments = Payments(
        store, catalog, parts.launches, service=service, settings=parts.settings
    )
    children = Children(store, catalog, parts.launches)
    parts.waits = Waits(store, parts.spooler, waiters=Waiters(), children=children)
    parts.histories = Histories(store, blobs=parts.files.blobs, opener=parts.vault.opener)
    parts.schedules = Schedules(store, catalog, parts.launches)
    parts.schedule_orders = ScheduleOrders(parts.schedules, store=store, catalog=catalog)
    parts.vault = Vault(store, api.data_dir)
    parts.cluster = SimpleNamespace(describe=describe, nodes=nodes, work=nodes)
    parts.leftovers = Leftovers(parts.supervisor, parts.cluster.work)
    parts.send, parts.code, parts.started = send, "", "2026-01-31T12:00:00.123456Z"
    parts.data_dir = api.data_dir
    applications = Applications(
        parts.endpoints.serve, store, supervisor=parts.supervisor, catalog=catalog, make=nothing
    )
    parts.deployer = Deployer(
        store, parts.supervisor, catalog, bundles=parts.bundles, applications=applications
    )
    api.parts.supervisor.launch = store_only(store)


def store_only(store: Any) -> Any:
    """Return a supervisor that accepts launches but never starts a runner."""

    async def launch(new: NewExecution) -> Any:
        return (await store.executions.create(new))[0]

    return launch
